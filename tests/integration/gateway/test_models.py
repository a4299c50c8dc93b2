"""A profile names one of the service's models: who judges, and what is said where there is no such model."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from csrm_opensearch.errors import RelevanceError, RelevanceModelError
from csrm_opensearch.profiles import RelevanceSettings
from csrm_opensearch.relevance_client import RelevanceClient
from csrm_opensearch.testing import OpenSearchNode
from csrm_serve.errors import NotReadyError
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.test_command import gateway_process
from tests.integration.native.serving import Serving, serving


@pytest.fixture
def served() -> Iterator[Serving]:
    """The service's own API with three models."""
    with serving(names=["shop@1", "shop@2", "toys@7"]) as service:
        yield service


async def judged(served: Serving, *models: str | None) -> list[str]:
    """The model that answers each, or why none does; the breaker's state comes last."""
    answers = []
    relevance = RelevanceSettings.model_validate({"url": served.url, "breaker": {"failures": 1}})
    async with RelevanceClient(relevance) as client:
        for model in models:
            try:
                answer = await client.judge(
                    "phone",
                    ["phone case"],
                    locale=None,
                    threshold=None,
                    deadline=time.monotonic() + 10,
                    model=model,
                )
                answers.append(answer.model)
            except RelevanceError as error:
                assert model is None or model in str(error)
                answers.append(error.reason)
        return [*answers, client.breaker_state]


def test_the_model_that_is_asked_for_judges(served: Serving) -> None:
    answers = asyncio.run(judged(served, None, "toys", "shop@2", "toys@7", "shop"))
    assert answers == ["shop@1", "toys@7", "shop@2", "toys@7", "shop@1", "closed"]


def test_a_model_that_is_not_there_or_not_up_takes_nothing_from_the_others(served: Serving) -> None:
    asyncio.run(judged(served, "shop@2"))
    served.scorers["toys@7"].failure = NotReadyError("It is being started.")
    answers = asyncio.run(judged(served, "toys@7", "shop@2", "toys@7", "toys@8", None))
    assert answers == ["relevance-model", "shop@2", "relevance-model", "relevance-model", "shop@1", "closed"]


def test_a_service_that_is_not_up_is_down_where_no_model_is_named(served: Serving) -> None:
    served.scorers["shop@1"].failure = NotReadyError("It is being started.")
    assert asyncio.run(judged(served, None)) == ["relevance-down", "open"]


def test_the_refusal_says_which_models_there_are(served: Serving) -> None:
    async def ask() -> None:
        async with RelevanceClient(RelevanceSettings(url=served.url)) as client:
            await client.judge(
                "a", ["a"], locale=None, threshold=None, deadline=time.monotonic() + 10, model="x"
            )

    with pytest.raises(RelevanceModelError, match=r"by model x: .* ask for shop@1 or shop@2 or toys@7"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("models", "state", "reason"),
    [
        ([], "ready", None),
        (["shop", "toys@7"], "ready", None),
        (["toys@8", "toys"], "unknown-model", "no model toys@8, .* it has shop@1, shop@2, toys@7"),
    ],
)
def test_a_look_at_the_service_finds_models_that_are_missing(
    served: Serving, models: list[str], state: str, reason: str | None
) -> None:
    async def look() -> tuple[str, str | None]:
        async with RelevanceClient(RelevanceSettings(url=served.url)) as client:
            found = await client.ready(models)
            return found.state, found.reason

    found, why = asyncio.run(look())
    assert found == state
    assert (why is None) if reason is None else re.search(reason, why or "")


CASE = {"query": {"match": {"title": "phone case good"}}}


def search(url: str, **csrm: object) -> Answer:
    answer = call(url, "POST", f"/{SHOP}/_search", CASE | {"ext": {"csrm": csrm}})
    assert answer.status == 200
    return answer


def test_a_profile_or_a_search_picks_the_model(
    opensearch: OpenSearchNode, shop: str, served: Serving
) -> None:
    with running_gateway(settings(opensearch.url, served.url, model="toys")) as url:
        assert search(url, explain=True).json["csrm"]["model"] == "toys@7"
        assert search(url, explain=True, model="shop@2").json["csrm"]["model"] == "shop@2"
        assert call(url, "GET", "/_csrm/readyz").json["status"] == "ready"
        assert call(url, "GET", "/_csrm/profiles").json["profiles"][0]["model"] == "toys"
    assert [asked["model"] for asked in served.judged] == ["toys", "shop@2"]


def test_an_unknown_model_costs_no_search_and_is_said_everywhere(
    opensearch: OpenSearchNode, shop: str, served: Serving, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.yaml"
    plain = settings(opensearch.url, served.url, model="toys@8").model_dump(mode="json")
    profiles.write_text(yaml.safe_dump(plain))
    with gateway_process(profiles) as running:
        running.says("has no model toys@8, which profiles name: it has shop@1, shop@2, toys@7")
        own = call(opensearch.url, "POST", f"/{SHOP}/_search", CASE)
        answer = search(running.url)
        assert answer.csrm == "skipped; reason=relevance-model"
        assert answer.json["hits"] == own.json["hits"] and "csrm" not in answer.json
        explained = search(running.url, explain=True)
        assert explained.json["csrm"] == {"reason": "relevance-model", "model": "toys@8"}
        assert explained.json["hits"] == own.json["hits"]
        running.says("cannot judge by model toys@8")
        assert search(running.url, model="toys").csrm.startswith("reranked")
        ready = call(running.url, "GET", "/_csrm/readyz").json
        assert (ready["status"], ready["relevance"]["state"]) == ("degraded", "unknown-model")
        assert ready["breaker"] == "closed"
        metrics = call(running.url, "GET", "/_csrm/metrics").body.decode()
    assert 'reason="relevance-model"' in metrics
