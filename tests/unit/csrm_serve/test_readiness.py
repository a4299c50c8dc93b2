"""/healthz, /readyz and /v1/models: what is up, what is not, and why."""

from __future__ import annotations

from fastapi.testclient import TestClient

from csrm_serve.errors import NotReadyError

from .conftest import OneFact, QueueScorer, WordModel


def test_healthy_means_the_process_answers(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = NotReadyError("The weights are being read.")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_not_ready_before_a_scorer_is_and_says_why(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = NotReadyError("The weights are being read.")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    body = answer.json()
    assert body["error"] == {"type": "not_ready", "reason": "The weights are being read."}
    assert body["scorer"] == {"state": "unavailable", "reason": "The weights are being read."}
    assert client.get("/v1/models").status_code == 503


def test_ready_with_a_scorer(client: TestClient) -> None:
    body = client.get("/readyz").json()
    assert body == {
        "status": "ready",
        "scorer": {"state": "ready", "model": "words@1", "engine": "words", "precision": "exact"},
        "retriever": {"state": "ready"},
    }


def test_a_broken_retriever_is_told_and_no_outage(client: TestClient, retriever: OneFact) -> None:
    retriever.failure = RuntimeError("The snapshot is broken.")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["retriever"] == {"state": "unavailable", "reason": "The snapshot is broken."}


def test_a_scorer_that_has_just_answered_is_not_asked_again(client: TestClient, scorer: QueueScorer) -> None:
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/relevance", json={"query": "a", "products": ["a"]}).status_code == 200
    scorer.failure = NotReadyError("Too busy to say.")
    assert client.get("/readyz").status_code == 200


def test_models_lists_the_served_bundle(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["words@1"]


def test_a_model_that_runs_slower_than_it_could_says_why(client: TestClient, model: WordModel) -> None:
    model.warning = "The lean engine differs from transformers: the latter is used."
    assert client.get("/readyz").json()["scorer"]["warning"] == model.warning
