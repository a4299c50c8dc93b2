"""POST /v2/rerank and /v1/rerank: Cohere's shape, as strict as OpenSearch's own rerank reads it."""

from __future__ import annotations

import json
import re
import time

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from csrm_serve.cohere import RerankRequest, rerank_response
from csrm_serve.messages import Knowledge, Scored
from csrm_serve.service import Answer
from tests.unit.csrm_serve.conftest import WordModel

DOCUMENTS = ["kettle", "running shoes", "running socks"]


def test_every_document_comes_back_best_first(client: TestClient) -> None:
    answer = client.post("/v2/rerank", json={"query": "running shoes", "documents": DOCUMENTS})
    assert answer.status_code == 200
    body = answer.json()
    assert [(one["index"], one["relevance_score"]) for one in body["results"]] == [
        (1, 1.0),
        (2, 0.5),
        (0, 0.0),
    ]
    assert all(set(one) == {"index", "relevance_score"} for one in body["results"])
    assert body["id"] and body["meta"] == {"api_version": {"version": "2"}, "model": "words@1"}


def test_a_whole_score_is_written_as_a_float(client: TestClient) -> None:
    answer = client.post("/v2/rerank", json={"query": "running shoes", "documents": DOCUMENTS})
    assert re.findall(r'"relevance_score":([^,}]+)', answer.text) == ["1.0", "0.5", "0.0"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_of_the_api_answer(client: TestClient, version: str) -> None:
    body = client.post(
        f"/v{version}/rerank", json={"query": "running shoes", "documents": DOCUMENTS, "top_n": 1}
    ).json()
    assert [one["index"] for one in body["results"]] == [1]
    assert body["meta"]["api_version"] == {"version": version}


def test_a_blank_document_ranks_last_and_costs_the_others_nothing(
    client: TestClient,
) -> None:
    documents = ["", "kettle", " \n", {"text": ""}, "running shoes"]
    body = client.post("/v2/rerank", json={"query": "running shoes", "documents": documents}).json()
    assert [(one["index"], one["relevance_score"]) for one in body["results"]] == [
        (4, 1.0),
        (1, 0.0),
        (0, 0.0),
        (2, 0.0),
        (3, 0.0),
    ]


def test_blank_documents_only_are_not_judged(client: TestClient, model: WordModel) -> None:
    answer = client.post("/v2/rerank", json={"query": "shoes", "documents": ["", " "]})
    assert re.findall(r'"relevance_score":([^,}]+)', answer.text) == ["0.0", "0.0"]
    assert answer.json()["meta"]["model"] == "words@1"
    assert model.judged == []


def test_documents_may_be_objects_and_may_come_back(client: TestClient) -> None:
    answer = client.post(
        "/v2/rerank",
        json={
            "model": "words",
            "query": "running shoes",
            "documents": ["kettle", {"text": "running shoes", "id": "7"}],
            "top_n": 1,
            "return_documents": True,
        },
    )
    assert answer.json()["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "running shoes"}}
    ]


@pytest.mark.parametrize("name", [None, "words", "words@1"])
def test_the_served_model_may_be_named(client: TestClient, name: str | None) -> None:
    answer = client.post("/v2/rerank", json={"model": name, "query": "shoes", "documents": DOCUMENTS})
    assert answer.status_code == 200


def test_another_model_is_not_silently_replaced(client: TestClient) -> None:
    answer = client.post("/v2/rerank", json={"model": "other", "query": "shoes", "documents": DOCUMENTS})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "unknown_model"
    assert "words@1" in answer.json()["error"]["reason"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_work_stops_at_the_callers_deadline(client: TestClient, model: WordModel, version: str) -> None:
    model.seconds_each = 0.02
    asked = {"query": "shoes", "documents": ["shoes"] * 100}
    started = time.monotonic()
    answer = client.post(f"/v{version}/rerank", json={**asked, "deadline_ms": 250})
    assert time.monotonic() - started < 1.5  # all of them take 2 s
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "deadline_exceeded")


def test_a_search_that_nobody_waits_for_any_more_does_not_hold_the_queue(
    client: TestClient, model: WordModel
) -> None:
    answer = client.post("/v2/rerank", json={"query": "gone", "documents": DOCUMENTS, "deadline_ms": 0.001})
    assert answer.status_code == 504
    assert model.judged == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"documents": []}, "documents: empty, at least one is needed."),
        ({"documents": ["a", {"title": "x"}]}, "documents[1]: neither a string nor an object with text."),
        ({"documents": ["a", 3]}, "documents[1]: not a string."),
        ({"query": "  "}, "query: empty."),
        ({"top_n": -1}, "top_n: input should be greater than or equal to 0."),
        ({"top_n": True}, "top_n: input should be a valid integer."),
        ({"deadline_ms": 0}, "deadline_ms: input should be greater than 0."),
        (
            {"deadline_ms": "soon"},
            "deadline_ms: input should be a valid number.",
        ),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, fields: dict[str, object], reason: str) -> None:
    answer = client.post("/v2/rerank", json={"query": "shoes", "documents": DOCUMENTS, **fields})
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == reason


@given(
    scores=st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=50),
    top_n=st.none() | st.integers(0, 60),  # 0 is vLLM's default and means all
)
def test_the_ranking_is_a_stable_order_of_all_documents(
    scores: list[float | None], top_n: int | None
) -> None:
    """A document without a score is a blank one."""
    documents = ["" if score is None else "d" for score in scores]
    request = RerankRequest(query="q", documents=documents, top_n=top_n)
    given_scores = [score for score in scores if score is not None]
    judged = [{"index": index, "score": score} for index, score in enumerate(given_scores)]
    answer = Answer(Scored("m@1", 0.5, judged, {}), Knowledge(), {})
    results = rerank_response(request, answer, version="2")["results"]
    assert len(results) == min(len(scores), top_n or len(scores))

    def rank(index: int) -> tuple[bool, float, int]:
        return scores[index] is None, -(scores[index] or 0.0), index

    indexes = [one["index"] for one in results]
    assert indexes == sorted(range(len(scores)), key=rank)[: len(results)]
    for one in results:
        written = json.dumps(one["relevance_score"])
        assert isinstance(one["relevance_score"], float) and len(written) < 19
        assert abs(one["relevance_score"] - (scores[one["index"]] or 0.0)) <= 5e-7
