"""POST /v1/relevance: what comes back, with what knowledge, and before when."""

from __future__ import annotations

import logging
import time

import pytest
from fastapi.testclient import TestClient

from csrm.wire import RelevanceResponse

from .conftest import OneFact, WordModel

PRODUCTS = ["red running shoes", "blue kettle", "running socks"]


def ask(client: TestClient, **fields: object) -> dict[str, object]:
    answer = client.post("/v1/relevance", json={"query": "running shoes", "products": PRODUCTS, **fields})
    assert answer.status_code == 200, answer.text
    RelevanceResponse.model_validate_json(answer.content)
    body: dict[str, object] = answer.json()
    return body


def test_judges_every_product_in_the_order_of_the_request(client: TestClient) -> None:
    body = ask(client)
    judgments = body["results"]
    assert [judgment["index"] for judgment in judgments] == [0, 1, 2]
    assert [judgment["score"] for judgment in judgments] == [1.0, 0.0, 0.5]
    assert [judgment["decision"] for judgment in judgments] == ["keep", "remove", "keep"]
    assert judgments[1]["grades"] == {"E": 0.0, "S": 0.0, "C": 0.0, "I": 1.0}
    assert body["model"] == "words@1"
    assert body["knowledge"] is None and body["timings_ms"] is None


def test_the_threshold_is_the_locales_own_unless_the_request_names_one(client: TestClient) -> None:
    korean = ask(client, locale="ko")
    assert korean["threshold"] == 0.4
    assert [judgment["decision"] for judgment in korean["results"]] == ["keep", "remove", "remove"]
    lenient = ask(client, locale="ko", threshold=1.0)
    assert lenient["threshold"] == 1.0
    assert all(judgment["decision"] == "keep" for judgment in lenient["results"])


def test_explain_tells_the_knowledge_and_where_the_time_went(client: TestClient, model: WordModel) -> None:
    body = ask(client, explain=True, locale="en")
    assert model.knowledge == ["running shoes = itself"]
    assert body["knowledge_version"] == "v1"
    assert body["knowledge"] == [
        {"id": "f1", "kind": "term", "text": "running shoes = itself", "locale": "en", "similarity": 0.9}
    ]
    assert set(body["timings_ms"]) == {"knowledge", "queue", "tokenise", "prefix", "products", "total"}
    assert all(ms >= 0 for ms in body["timings_ms"].values())


def test_a_failing_retriever_costs_knowledge_and_no_answer(
    client: TestClient,
    model: WordModel,
    retriever: OneFact,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    said: list[logging.LogRecord] = []
    log = logging.getLogger("ray.serve.csrm")
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", said.append)
    # At the logger itself: what Ray hung on the loggers above hears a record again, or silences it.
    monkeypatch.setattr(log, "handlers", [listener])
    monkeypatch.setattr(log, "disabled", False)
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    level = log.level
    log.setLevel(logging.INFO)
    request.addfinalizer(lambda: log.setLevel(level))
    retriever.failure = RuntimeError("the snapshot is gone")
    body = ask(client, explain=True)
    ask(client)
    retriever.failure = None
    healed = ask(client)
    assert body["knowledge_version"] == "none" and body["knowledge"] == []
    assert len(body["results"]) == len(PRODUCTS)
    assert healed["knowledge_version"] == "v1"
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert "the snapshot is gone" in said[0].getMessage()


def test_a_slow_retriever_is_not_waited_for(client: TestClient, retriever: OneFact) -> None:
    retriever.seconds = 3.0
    body = ask(client, explain=True)
    assert body["knowledge_version"] == "none"
    assert body["timings_ms"]["knowledge"] < 1_000


def test_work_stops_at_the_deadline(client: TestClient, model: WordModel) -> None:
    model.seconds_each = 0.1
    answer = client.post(
        "/v1/relevance", json={"query": "shoes", "products": ["shoes"] * 100, "deadline_ms": 250}
    )
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "deadline_exceeded"


def test_a_partial_answer_comes_in_time_with_what_was_judged(client: TestClient, model: WordModel) -> None:
    model.seconds_each = 0.02
    began = time.monotonic()
    body = ask(client, products=["running shoes"] * 200, deadline_ms=1_000, partial=True)
    assert time.monotonic() - began < 1.2
    assert 0 < body["scored"] < 200
    assert [judgment["index"] for judgment in body["results"]] == list(range(body["scored"]))


def test_a_partial_answer_without_any_judgment_is_late(client: TestClient, model: WordModel) -> None:
    model.seconds_each = 0.3
    answer = client.post(
        "/v1/relevance", json={"query": "shoes", "products": PRODUCTS, "deadline_ms": 200, "partial": True}
    )
    assert answer.status_code == 504


@pytest.mark.parametrize(("level", "deep"), [("fast", 0), ("balanced", 1), ("full", 3), (None, 3)])
def test_the_level_is_the_requests(client: TestClient, level: str | None, deep: int) -> None:
    body = ask(client, level=level)
    assert body["level"] == (level or "full")
    assert (body["scored"], body["all_layers"]) == (3, deep)


def test_a_deadline_that_has_passed_already_starts_no_work(client: TestClient, model: WordModel) -> None:
    answer = client.post(
        "/v1/relevance", json={"query": "shoes", "products": ["shoes"], "deadline_ms": 0.001}
    )
    assert answer.status_code == 504
    assert model.judged == []
