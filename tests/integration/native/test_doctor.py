"""The doctor on a real node: every way that the road can be broken here is named, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.doctor import Check, examine
from csrm_opensearch.native.install import install, uninstall
from csrm_opensearch.native.road import Road
from csrm_opensearch.native.settings import PRIVATE, TRUSTED
from tests.integration.native.conftest import Door, ShowFault
from tests.integration.native.serving import API_KEY, Serving

STEPS = ["cluster", "search pipeline", "settings", "model", "relevance service", "document"]


@pytest.fixture
def installed(client: OpenSearch, road: Road) -> Road:
    install(client, road, change_settings=True)
    return road


def examined(client: OpenSearch, road: Road) -> Check:
    """The last step; those before it were well, and came in their order."""
    checks = list(examine(client, road))
    assert [check.step for check in checks] == STEPS[: len(checks)]
    assert all(check.well for check in checks[:-1])
    return checks[-1]


@pytest.mark.parametrize("drop_in", [True, False])
def test_a_whole_road(client: OpenSearch, installed: Road, drop_in: bool) -> None:
    road = installed if drop_in else replace(installed, query=None)
    install(client, road, make_default=True)
    last = examined(client, road)
    assert (last.step, last.well) == ("document", True)
    assert last.found.startswith("a search for 'phone phone' scored")
    assert f"default of {road.indices[0]}" in list(examine(client, road))[1].found


def test_nothing_installed(client: OpenSearch, road: Road) -> None:
    last = examined(client, road)
    assert (last.step, last.remedy) == ("search pipeline", "run csrm install pipeline")


def test_a_pipeline_of_others(client: OpenSearch, road: Road) -> None:
    client.search_pipeline.put(
        id=road.name, body={"response_processors": [{"truncate_hits": {"target_size": 3}}]}
    )
    assert examined(client, road).found == f"{road.name} is of other origin"
    client.search_pipeline.delete(id=road.name)


def test_another_profile_than_was_installed(client: OpenSearch, installed: Road) -> None:
    assert "not as the profile wants it" in examined(client, replace(installed, window=7)).found
    assert examined(client, replace(installed, budget_ms=7_000)).step == "model"


@pytest.mark.parametrize(
    ("setting", "value", "missing"),
    [(TRUSTED, [], "endpoints_regex"), (PRIVATE, False, "private_ip_enabled: true")],
)
def test_settings_that_were_changed(
    client: OpenSearch, installed: Road, setting: str, value: object, missing: str
) -> None:
    parts.put_settings(client, {setting: value})
    try:
        last = examined(client, installed)
        assert (last.step, last.remedy) == ("settings", "run csrm install pipeline --yes")
        assert missing in last.found
        install(client, installed, change_settings=True)
        assert examined(client, installed).well
    finally:
        uninstall(client, installed.name)
        parts.put_settings(client, {setting: None})


def test_a_model_that_is_not_deployed_or_gone(client: OpenSearch, installed: Road) -> None:
    (model,) = parts.models_of(client, installed.name)
    client.transport.perform_request("POST", f"{parts.ML}/models/{model}/_undeploy")
    assert examined(client, installed).found == "it is undeployed"
    parts.delete_model(client, model)
    assert examined(client, installed).found == "the one that the pipeline calls is gone"
    install(client, installed)
    assert examined(client, installed).well


def test_a_wrong_key(client: OpenSearch, installed: Road, service: Serving) -> None:
    service.key = API_KEY
    last = examined(client, installed)
    assert last.step == "relevance service"
    assert last.remedy.startswith("set CSRM_RELEVANCE_KEY")
    install(client, installed, key=API_KEY)
    assert examined(client, installed).well


def test_a_service_that_is_too_slow(client: OpenSearch, installed: Road, service: Serving) -> None:
    quick = replace(installed, budget_ms=1_000)
    install(client, quick)
    service.model.seconds_each = 0.7
    last = examined(client, quick)
    assert (last.step, last.found) == (
        "relevance service",
        "Error communicating with remote model: Read timed out",
    )
    assert last.remedy.startswith("raise the profile's time_budget_ms")


def test_a_service_that_is_down(client: OpenSearch, installed: Road) -> None:
    nobody = replace(installed, url="http://127.0.0.1:9/v2/rerank")
    install(client, nobody, change_settings=True)
    last = examined(client, nobody)
    assert last.step == "relevance service"
    assert last.remedy.startswith("start the relevance service")


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("authority", "let the Java of every node trust the authority"),
        ("name", "the certificate of the relevance service is for other names"),
        ("date", "renew the certificate of the relevance service"),
    ],
)
def test_a_service_whose_certificate_does_not_fit(
    client: OpenSearch,
    installed: Road,
    service: Serving,
    door: Door,
    show_fault: ShowFault,
    fault: str,
    remedy: str,
) -> None:
    service.key = API_KEY
    secure = replace(installed, url=f"{door.wire.url}/v2/rerank", budget_ms=20_000)
    install(client, secure, key=API_KEY, change_settings=True)
    assert examined(client, secure).well
    show_fault(fault)
    service.asked.clear()
    last = examined(client, secure)
    assert last.step == "relevance service"
    assert last.remedy.startswith(remedy), last
    assert service.asked == []


@pytest.mark.parametrize("tls", ["of the service only", "of the cluster only"])
def test_tls_on_one_side_only(
    client: OpenSearch, installed: Road, service: Serving, door: Door, tls: str
) -> None:
    url = {
        "of the service only": door.wire.url.replace("https:", "http:"),
        "of the cluster only": service.url.replace("http:", "https:"),
    }[tls]
    half = replace(installed, url=f"{url}/v2/rerank", budget_ms=20_000)
    install(client, half, change_settings=True)
    last = examined(client, half)
    assert last.remedy.startswith("write https in the URL"), last


def test_a_url_of_another_program(client: OpenSearch, installed: Road) -> None:
    other = replace(installed, url=installed.url.replace("/v2/rerank", "/elsewhere"))
    install(client, other)
    assert "correct it" in examined(client, other).remedy


@pytest.fixture
def bare_index(client: OpenSearch, installed: Road) -> Iterator[str]:
    name = f"{installed.indices[0]}-bare"
    client.indices.create(index=name)
    yield name
    client.indices.delete(index=name)


def test_documents_without_text_or_none_at_all(client: OpenSearch, installed: Road, bare_index: str) -> None:
    road = replace(installed, indices=(bare_index,))
    assert examined(client, road).found == f"no document in {bare_index} yet, so none was scored"
    client.index(index=bare_index, id="1", body={"name": "shoes"}, params={"refresh": "true"})
    last = examined(client, road)
    assert (last.found, last.remedy) == (
        "document 1 has no text in brand, title",
        "correct the profile's text_fields",
    )


def test_what_does_not_concern_a_remote_model(client: OpenSearch, installed: Road) -> None:
    """Guides ask for these; a node without the ml role, and full by its own count, calls the service all the same."""
    asked_for = {
        "plugins.ml_commons.only_run_on_ml_node": True,
        "plugins.ml_commons.native_memory_threshold": 1,
        "plugins.ml_commons.jvm_heap_memory_threshold": 1,
    }
    parts.put_settings(client, asked_for)
    try:
        assert examined(client, installed).well
        install(client, replace(installed, budget_ms=7_000))  # deploys anew
        assert examined(client, replace(installed, budget_ms=7_000)).well
    finally:
        parts.put_settings(client, dict.fromkeys(asked_for))
