"""The search pipeline on a real node: installed once, brought up to date, taken back; never over others'."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.errors import NativeProfileError, PipelineConflictError, SettingsNeededError
from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.install import install, uninstall
from csrm_opensearch.native.road import Road, connector_body, road_of
from csrm_opensearch.native.settings import PRIVATE, RECORD, TRUSTED
from csrm_opensearch.profiles import Profile
from tests.integration.native.conftest import BEST, SEARCH, hits
from tests.integration.native.serving import API_KEY, Serving


def search(client: OpenSearch, road: Road, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.search(index=road.indices[0], body=SEARCH | body)
    return answer


def settings(client: OpenSearch) -> dict[str, Any]:
    current, _ = parts.settings_of(client)
    return {name: current[name] for name in (TRUSTED, PRIVATE, RECORD) if name in current}


def test_settings_are_shown_before_they_are_changed(client: OpenSearch, road: Road) -> None:
    with pytest.raises(SettingsNeededError, match=r"regex: \^http://127.* added.*private_ip_enabled: true"):
        install(client, road)
    assert settings(client) == {}
    assert parts.pipeline_of(client, road.name) is None
    assert parts.connectors_of(client, road.name) == {}


def test_drop_in_needs_nothing_of_the_client(client: OpenSearch, road: Road, service: Serving) -> None:
    before = search(client, road)
    said = install(client, road, change_settings=True, make_default=True)
    assert said[-2:] == [
        f"search pipeline {road.name} (drop-in): made",
        f"default of {road.indices[0]}: made",
    ]
    answer = search(client, road)
    assert set(hits(answer)[:3]) == BEST
    assert not BEST & set(hits(before)[:3])
    assert service.asked[-1]["query"] == "phone case"
    assert service.asked[-1]["locale"] == "ko"
    assert "Acme a very long name for a plain and simple phone case in red " in service.asked[-1]["documents"]
    # The product without a brand is judged by what it has.
    assert " a very long name for a plain and simple phone case in green " in service.asked[-1]["documents"]
    # The score has done its work and is not left in the document.
    assert answer["hits"]["hits"][0]["_source"].keys() <= {"title", "brand", "price"}


def test_rerank_with_ext(client: OpenSearch, road: Road, service: Serving) -> None:
    by_ext = replace(road, query=None)
    said = install(client, by_ext, change_settings=True, make_default=True)
    assert f"search pipeline {road.name} (needs ext.rerank.query_context in every search): made" in said
    for context in ({"query_text": "phone case"}, {"query_text_path": "query.multi_match.query"}):
        answer = search(client, road, ext={"rerank": {"query_context": context}})
        assert set(hits(answer)[:3]) == BEST
    odd = 'a "quoted" \\ text\nof two lines, 한국어'
    search(client, road, ext={"rerank": {"query_context": {"query_text": odd}}})
    assert service.asked[-1]["query"] == odd


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/query/match/title", {"match": {"title": "phone case"}}),
        ("/query/match/title/query", {"match": {"title": {"query": "phone case", "operator": "or"}}}),
        (
            "/query/bool/must/multi_match/query",
            {"bool": {"must": {"multi_match": {"query": "phone case", "fields": ["title"]}}}},
        ),
        (
            "/query/bool/should/1/match_phrase/title",
            {"bool": {"should": [{"match_all": {}}, {"match_phrase": {"title": "phone case"}}]}},
        ),
        ("/query/simple_query_string/query", {"simple_query_string": {"query": "phone case"}}),
        ("/query/query_string/query", {"query_string": {"query": "phone case"}}),
        (
            "/query/function_score/query/match/title",
            {
                "function_score": {
                    "query": {"match": {"title": "phone case"}},
                    "field_value_factor": {"field": "price"},
                }
            },
        ),
        (
            "/query/dis_max/queries/0/match/title",
            {"dis_max": {"queries": [{"match": {"title": "phone case"}}]}},
        ),
    ],
)
def test_the_text_is_found_as_the_gateway_finds_it(
    client: OpenSearch, road: Road, profile: Profile, service: Serving, path: str, query: dict[str, Any]
) -> None:
    """A profile's ``query_path`` points into what the client sends, for both ways into OpenSearch."""
    other = road_of(profile.model_copy(update={"query_path": path}), service.url)
    install(client, other, change_settings=True, make_default=True)
    client.search(index=road.indices[0], body={"query": query})
    assert service.asked[-1]["query"] == "phone case"


def test_a_second_install_changes_nothing(client: OpenSearch, road: Road) -> None:
    install(client, road, change_settings=True, make_default=True)
    before = (parts.models_of(client, road.name), parts.connectors_of(client, road.name), settings(client))
    said = install(client, road, make_default=True)
    assert len(said) == 3
    assert all(line.endswith(": there") for line in said)
    after = (parts.models_of(client, road.name), parts.connectors_of(client, road.name), settings(client))
    assert after == before


def test_a_changed_profile_is_brought_into_the_cluster(client: OpenSearch, road: Road) -> None:
    install(client, road, change_settings=True, make_default=True)
    (model,) = parts.models_of(client, road.name)
    said = install(client, replace(road, window=2))
    assert said == [
        f"connector and model {road.name}: there",
        f"search pipeline {road.name} (drop-in): updated",
    ]
    assert not BEST & set(hits(search(client, road, size=1)))
    install(client, replace(road, budget_ms=8_500))
    (connector,) = parts.connectors_of(client, road.name).values()
    assert connector["client_config"]["read_timeout"] == 9
    assert parts.models_of(client, road.name).keys() != {model}
    assert set(hits(search(client, road, size=3))) == BEST


def test_uninstall_leaves_the_cluster_as_it_was(client: OpenSearch, road: Road) -> None:
    before = settings(client)
    install(client, road, change_settings=True, make_default=True)
    assert settings(client).keys() == {TRUSTED, PRIVATE, RECORD}
    said = uninstall(client, road.name)
    assert said[:3] == [
        f"default of {road.indices[0]}: taken back",
        f"search pipeline {road.name}: deleted",
        f"connector and model {road.name}: deleted",
    ]
    assert settings(client) == before == {}
    assert parts.pipeline_of(client, road.name) is None
    assert parts.default_pipelines(client) == {}
    for kind in ("models", "connectors", "model_groups"):
        found = client.transport.perform_request(
            "POST", f"{parts.ML}/{kind}/_search", body={"query": {"term": {"name.keyword": road.name}}}
        )
        assert found["hits"]["hits"] == [], kind
    assert not BEST & set(hits(search(client, road))[:3])
    assert uninstall(client, road.name) == []


def test_what_two_profiles_share_goes_with_the_last(client: OpenSearch, road: Road) -> None:
    other = replace(road, name=f"{road.name}-other")
    install(client, road, change_settings=True)
    install(client, other)
    shared = settings(client)
    uninstall(client, road.name)
    assert settings(client) == shared
    uninstall(client, other.name)
    assert settings(client) == {}


def test_settings_of_the_cluster_are_kept(client: OpenSearch, road: Road) -> None:
    theirs = {TRUSTED: ["^https://api\\.example\\.com/.*$"], PRIVATE: True}
    parts.put_settings(client, theirs)
    try:
        install(client, road, change_settings=True)
        assert settings(client)[TRUSTED][0] == theirs[TRUSTED][0]
        uninstall(client, road.name)
        assert settings(client) == {TRUSTED: theirs[TRUSTED], PRIVATE: "true"}
    finally:
        parts.put_settings(client, dict.fromkeys(theirs))


def test_a_pipeline_of_others_is_never_touched(client: OpenSearch, road: Road) -> None:
    theirs = {"description": "theirs", "response_processors": [{"truncate_hits": {"target_size": 3}}]}
    client.search_pipeline.put(id=road.name, body=theirs)
    with pytest.raises(PipelineConflictError, match="of other origin: rename"):
        install(client, road, change_settings=True, make_default=True)
    with pytest.raises(PipelineConflictError):
        uninstall(client, road.name)
    assert parts.pipeline_of(client, road.name) == theirs
    assert settings(client) == {}


def test_a_default_of_others_is_never_touched(client: OpenSearch, road: Road) -> None:
    client.search_pipeline.put(
        id="theirs", body={"response_processors": [{"truncate_hits": {"target_size": 3}}]}
    )
    parts.set_default_pipeline(client, road.indices[0], "theirs")
    try:
        with pytest.raises(PipelineConflictError, match="has the default search pipeline theirs"):
            install(client, road, change_settings=True, make_default=True)
        assert settings(client) == {}
        install(client, road, change_settings=True)
        uninstall(client, road.name)
        assert parts.default_pipelines(client) == {road.indices[0]: "theirs"}
    finally:
        parts.set_default_pipeline(client, road.indices[0], None)
        client.search_pipeline.delete(id="theirs")


def half_made(client: OpenSearch, road: Road, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """What an install leaves that is killed at ``step``."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts, step, killed)
        with pytest.raises(KeyboardInterrupt):
            install(client, road, change_settings=True, make_default=True)


@pytest.mark.parametrize("step", ["create_connector", "deploy_model", "set_default_pipeline"])
def test_a_half_made_install_is_finished_or_undone(
    client: OpenSearch, road: Road, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    half_made(client, road, monkeypatch, step)
    uninstall(client, road.name)
    assert settings(client) == {}
    assert parts.connectors_of(client, road.name) == {} == parts.models_of(client, road.name)

    half_made(client, road, monkeypatch, step)
    install(client, road, make_default=True)
    assert set(hits(search(client, road))[:3]) == BEST
    assert len(parts.connectors_of(client, road.name)) == len(parts.models_of(client, road.name)) == 1


def test_the_key_reaches_the_service_and_nobody_else(
    client: OpenSearch, road: Road, service: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    service.key = API_KEY
    with caplog.at_level(logging.DEBUG):
        said = install(client, road, key=API_KEY, change_settings=True, make_default=True)
    assert set(hits(search(client, road))[:3]) == BEST
    everything = str(
        (said, caplog.text, parts.connectors_of(client, road.name), parts.models_of(client, road.name))
    )
    assert "connectors/_search" in caplog.text  # the client does log
    assert API_KEY not in everything
    assert all(line.endswith(": there") for line in install(client, road))  # the key is kept
    with pytest.raises(NativeProfileError, match="set the environment variable CSRM_RELEVANCE_KEY again"):
        install(client, replace(road, budget_ms=5_000))


def test_a_key_that_the_cluster_repeats_is_taken_out_of_the_error(
    client: OpenSearch, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misplaced(road: Road, *, key: str | None) -> dict[str, Any]:
        body = connector_body(road, key=key)
        return body | {"protocol": str(key)}

    monkeypatch.setattr("csrm_opensearch.native.install.connector_body", misplaced)
    with pytest.raises(Exception, match=r"\*\*\*") as raised:
        install(client, road, key=API_KEY, change_settings=True)
    assert API_KEY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_index_to_be_the_default_of(client: OpenSearch, road: Road) -> None:
    with pytest.raises(NativeProfileError, match="No index fits none-such-\\*"):
        install(client, replace(road, indices=("none-such-*",)), change_settings=True, make_default=True)
