"""Several models in one application: which one answers, what is said of it, and what a trial may cost."""

from __future__ import annotations

from collections import Counter

import pytest
from fastapi.testclient import TestClient

from csrm.errors import InputError
from csrm_serve.api import create_api
from csrm_serve.errors import NotReadyError
from csrm_serve.models import Models
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.service import RelevanceService
from csrm_serve.shares import drawn

from .conftest import OneFact, QueueScorer, WordModel

QUERIES = [f"query {number}" for number in range(400)]


def scorer(name: str) -> QueueScorer:
    model = WordModel()
    model.name = name
    return QueueScorer(ScoringQueue(model))


@pytest.fixture
def scorers() -> dict[str, QueueScorer]:
    return {"now": scorer("shop@1"), "next": scorer("shop@2"), "other": scorer("toys@7")}


@pytest.fixture
def models(scorers: dict[str, QueueScorer]) -> Models:
    services = {
        bundle: RelevanceService(one, OneFact(), default_deadline_ms=5_000, knowledge_budget_ms=100)
        for bundle, one in scorers.items()
    }
    return Models(services, {"next": 0.25})


@pytest.fixture
def client(models: Models) -> TestClient:
    return TestClient(create_api(models), raise_server_exceptions=False)


def answering(client: TestClient, query: str, model: str | None = None) -> str:
    """The model that the answer names."""
    answer = client.post("/v1/relevance", json={"query": query, "products": ["a"], "model": model})
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["model"]
    return name


def test_all_are_listed_the_first_one_first(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["shop@1", "shop@2", "toys@7"]


@pytest.mark.parametrize("asked", ["shop@2", "toys@7", "toys"])
def test_a_model_answers_to_its_name_whatever_the_shares(client: TestClient, asked: str) -> None:
    for query in QUERIES[:20]:
        assert answering(client, query, asked).startswith(asked)


@pytest.mark.parametrize("asked", [None, "shop"])
def test_a_share_of_the_queries_goes_to_the_second_version(client: TestClient, asked: str | None) -> None:
    counted = Counter(answering(client, query, asked) for query in QUERIES)
    assert set(counted) == {"shop@1", "shop@2"}
    assert 70 < counted["shop@2"] < 130, "a quarter of 400, give or take"


def test_a_query_keeps_its_model_on_every_path_and_page(client: TestClient, models: Models) -> None:
    for query in QUERIES[:40]:
        first = answering(client, query)
        bodies = {
            "/v1/rerank": {"query": query, "documents": ["b"]},
            "/v2/rerank": {"query": query, "documents": ["b", "c"]},
            "/score": {"text_1": query, "text_2": ["b"]},
        }
        assert {client.post(path, json=body).json()["model"] for path, body in bodies.items()} == {first}


def test_every_process_and_every_release_draws_the_same() -> None:
    drawn_here = [number for number in range(12) if drawn(f"query {number}", {"next": 0.25})]
    assert drawn_here == [1, 4]


def test_a_larger_share_moves_queries_one_way_only() -> None:
    few = {query for query in QUERIES if drawn(query, {"next": 0.1})}
    many = {query for query in QUERIES if drawn(query, {"next": 0.5})}
    assert few < many


def test_one_request_of_pairs_has_one_model(client: TestClient, scorers: dict[str, QueueScorer]) -> None:
    answer = client.post("/score", json={"queries": QUERIES[:40], "documents": ["a"] * 40})
    assert answer.status_code == 200
    judged = {bundle: len(one.queue._model.judged) - 1 for bundle, one in scorers.items()}  # type: ignore[attr-defined]
    assert sorted(judged.values()) == [0, 0, 40]


def test_an_unknown_model_is_named_with_those_there_are(client: TestClient) -> None:
    for path, field in (("/v1/relevance", "products"), ("/v2/rerank", "documents")):
        for asked in ("shop@3", "shopp", "shop@", "@1"):
            answer = client.post(path, json={"query": "a", field: ["a"], "model": asked})
            assert answer.status_code == 404
            assert answer.json()["error"] == {
                "type": "unknown_model",
                "reason": "This service has no such model: ask for shop@1 or shop@2 or toys@7, or leave model out.",
            }


def test_queries_of_one_request_name_their_own_models(client: TestClient) -> None:
    requests = [{"query": "a", "products": ["a"], "model": name} for name in ("toys", "shop@2", "none")]
    responses = client.post("/v1/relevance", json={"requests": requests}).json()["responses"]
    assert [one.get("model", one["status"]) for one in responses] == ["toys@7", "shop@2", 404]


def test_a_trial_that_is_down_costs_no_answer(client: TestClient, scorers: dict[str, QueueScorer]) -> None:
    assert {answering(client, query) for query in QUERIES[:40]} == {"shop@1", "shop@2"}
    scorers["next"].failure = NotReadyError("It is being started again.")
    assert {answering(client, query) for query in QUERIES[:40]} == {"shop@1"}
    asked = {"query": "a", "products": ["a"], "model": "shop@2"}
    assert client.post("/v1/relevance", json=asked).status_code == 503, "who asks for it is told"


def test_ready_is_what_the_first_model_is(client: TestClient, scorers: dict[str, QueueScorer]) -> None:
    scorers["other"].failure = NotReadyError("It is being started again.")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["scorer"]["model"]) == (200, "shop@1")
    assert answer.json()["also"]["next"]["scorer"]["model"] == "shop@2"
    assert answer.json()["also"]["other"]["scorer"]["reason"] == "It is being started again."
    unknown = client.post("/v1/relevance", json={"query": "a", "products": ["a"], "model": "toys"})
    assert unknown.status_code == 503, "it may be the one that is not up"
    scorers["now"].failure = NotReadyError("The weights are being read.")
    assert client.get("/readyz").status_code == 503


def test_shares_change_while_it_runs_and_wrong_ones_change_nothing(
    client: TestClient, models: Models
) -> None:
    models.share({"next": 1.0})
    assert {answering(client, query) for query in QUERIES[:20]} == {"shop@2"}
    for wrong in ({"now": 0.5}, {"absent": 0.5}, {"next": 1.5}, {"next": 0.6, "other": 0.6}):
        with pytest.raises(InputError, match="shares: "):
            models.share(wrong)
    assert {answering(client, query) for query in QUERIES[:20]} == {"shop@2"}
    models.share({})
    assert {answering(client, query) for query in QUERIES[:20]} == {"shop@1"}


def test_a_model_that_took_anothers_place_is_known_by_its_new_name(
    client: TestClient, models: Models, scorers: dict[str, QueueScorer]
) -> None:
    models.share({})
    assert answering(client, "a", "shop@1") == "shop@1"
    newer = WordModel()
    newer.name = "shop@3"
    scorers["now"].queue.replace(newer)
    assert answering(client, "a") == "shop@3"
    assert client.get("/v1/models").json()["data"][0]["id"] == "shop@3"
    assert client.get("/readyz").json()["scorer"]["model"] == "shop@3"
    gone = client.post("/v1/relevance", json={"query": "a", "products": ["a"], "model": "shop@1"})
    assert gone.status_code == 404
