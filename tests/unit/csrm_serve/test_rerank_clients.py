"""Clients of other rerank servers, pointed at this service: Cohere's own SDK, and what others send and read."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import cohere
import httpx
import pytest
from cohere.errors import NotFoundError, UnprocessableEntityError
from fastapi.testclient import TestClient

from .conftest import MakeClient, QueueScorer, WordModel

DOCUMENTS = ["kettle", "running shoes", "running socks"]
RANKED = [(1, 1.0), (2, 0.5), (0, 0.0)]


@pytest.fixture
async def http(client: TestClient) -> AsyncIterator[httpx.AsyncClient]:
    """What Cohere's SDK sends its requests with: straight into the application."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app)) as http:
        yield http


@pytest.mark.parametrize("version", [1, 2])
async def test_coheres_sdk(http: httpx.AsyncClient, version: int) -> None:
    kind = cohere.AsyncClientV2 if version == 2 else cohere.AsyncClient
    sdk = kind(api_key="none", base_url="http://csrm", httpx_client=http)
    answer = await sdk.rerank(model="words@1", query="running shoes", documents=DOCUMENTS, top_n=2)
    assert [(one.index, one.relevance_score) for one in answer.results] == RANKED[:2]
    assert answer.id and answer.meta.api_version.version == str(version)


async def test_coheres_sdk_raises_its_own_errors(http: httpx.AsyncClient) -> None:
    sdk = cohere.AsyncClientV2(api_key="none", base_url="http://csrm", httpx_client=http)
    with pytest.raises(UnprocessableEntityError, match="query: empty"):
        await sdk.rerank(model="words", query=" ", documents=DOCUMENTS)
    with pytest.raises(NotFoundError, match="ask for words@1"):
        await sdk.rerank(model="rerank-v3.5", query="shoes", documents=DOCUMENTS)


def test_teis_clients_get_a_list_of_ranks(client: TestClient) -> None:
    """As llama-index, Haystack and pymilvus send it."""
    asked = {"query": "running shoes", "texts": DOCUMENTS, "raw_scores": False, "truncate": True}
    ranks = client.post("/rerank", json=asked).json()
    assert ranks == [{"index": index, "score": score} for index, score in RANKED]
    with_text = client.post("/rerank", json={**asked, "return_text": True}).json()
    assert [one["text"] for one in with_text] == ["running shoes", "running socks", "kettle"]


def test_teis_raw_scores_are_those_before_the_sigmoid(client: TestClient) -> None:
    asked = {"query": "running shoes", "texts": DOCUMENTS, "raw_scores": True}
    ranks = client.post("/rerank", json=asked).json()
    assert [one["index"] for one in ranks] == [index for index, _ in RANKED]
    sigmoid = [1 / (1 + math.exp(-one["score"])) for one in ranks]
    assert sigmoid == pytest.approx([score for _, score in RANKED], abs=2e-6)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_jinas_clients_get_model_usage_and_results(client: TestClient, path: str) -> None:
    """As langchain, llama-index and Haystack send it; vLLM's own clients too."""
    asked = {"model": "words", "query": "running shoes", "documents": DOCUMENTS, "top_n": 2}
    body = client.post(path, json=asked).json()
    assert [(one["index"], one["relevance_score"]) for one in body["results"]] == RANKED[:2]
    assert body["model"] == "words@1" and isinstance(body["usage"]["total_tokens"], int)
    told = [one.get("document") for one in body["results"]]
    assert told == ([{"text": DOCUMENTS[1]}, {"text": DOCUMENTS[2]}] if path == "/rerank" else [None, None])
    without = client.post(path, json={**asked, "return_documents": False}).json()
    assert all("document" not in one for one in without["results"])


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
@pytest.mark.parametrize("query", ["running shoes", ["running shoes"]])
def test_vllms_score_of_one_query(
    client: TestClient, path: str, names: tuple[str, str], query: str | list[str]
) -> None:
    asked = {"model": "words", names[0]: query, names[1]: DOCUMENTS}
    body = client.post(path, json=asked).json()
    assert body["object"] == "list" and body["model"] == "words@1" and body["id"] and body["created"]
    assert [(one["index"], one["object"], one["score"]) for one in body["data"]] == [
        (0, "score", 0.0),
        (1, "score", 1.0),
        (2, "score", 0.5),
    ]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_vllms_top_n_of_0_is_all(client: TestClient, path: str) -> None:
    """Its own default."""
    asked = {"model": "words", "query": "running shoes", "documents": DOCUMENTS, "top_n": 0}
    results = client.post(path, json=asked).json()["results"]
    assert [(one["index"], one["relevance_score"]) for one in results] == RANKED


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_vllms_only_document_may_be_a_text_by_itself(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"query": "running shoes", "documents": "running socks"}).json()
    assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [(0, 0.5)]
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}  # vLLM's clients may need both


LATE = {"deadline_ms": 300, "partial": True}
MANY = ["", *["shoes"] * 30, "kettle"]


def check_order(results: list[dict[str, object]], score: str) -> int:
    """The scored come first, then those there was no time for, in order, then the blank one; how many were scored."""
    scored = next(place for place, one in enumerate(results) if one.get("scored") is False)
    assert scored > 0
    assert [one["index"] for one in results] == [*range(1, len(MANY)), 0]
    assert all(one[score] == 1.0 and "scored" not in one for one in results[:scored])
    assert all(one[score] == 0.0 and one["scored"] is False for one in results[scored:-1])
    assert results[-1] == {"index": 0, score: 0.0}
    return scored


def test_at_the_deadline_every_shape_can_return_what_was_scored(client: TestClient, model: WordModel) -> None:
    model.seconds_each = 0.05  # all of them take 1.5 s
    asked = {"query": "shoes", **LATE}
    cohere_shaped = client.post("/v2/rerank", json={**asked, "documents": MANY}).json()
    assert check_order(cohere_shaped["results"], "relevance_score") == cohere_shaped["meta"]["scored"]
    check_order(client.post("/rerank", json={**asked, "texts": MANY}).json(), "score")
    pairs = client.post("/score", json={**LATE, "text_1": "shoes", "text_2": MANY}).json()["data"]
    assert [one["index"] for one in pairs] == list(range(len(MANY)))
    assert [one.get("scored") for one in pairs[:2]] == [None, None]
    assert pairs[-1] == {"object": "score", "index": len(MANY) - 1, "score": 0.0, "scored": False}


def test_a_query_of_pairs_that_nothing_was_scored_of_costs_the_others_nothing(
    client: TestClient, model: WordModel
) -> None:
    model.seconds_each = 0.1
    pairs = {"text_1": [f"q{n}" for n in range(8)], "text_2": ["q0"] * 8, "deadline_ms": 500, "partial": True}
    answer = client.post("/score", json=pairs)
    told = [one.get("scored", True) for one in answer.json()["data"]]
    assert answer.json()["data"][0]["score"] == 1.0
    assert told[0] and not told[-1]
    nothing = client.post("/score", json={**pairs, "deadline_ms": 0.001})
    assert (nothing.status_code, nothing.json()["error"]["type"]) == (504, "deadline_exceeded")


def test_vllms_score_of_pairs_asks_every_query_once(client: TestClient, model: WordModel) -> None:
    queries = ["red kettle", "shoes", "red kettle", "shoes", "red kettle"]
    documents = ["kettle", "shoes", "red kettle", "socks", ""]
    body = client.post("/score", json={"text_1": queries, "text_2": documents}).json()
    assert [one["score"] for one in body["data"]] == [0.5, 1.0, 1.0, 0.0, 0.0]
    assert sorted(model.judged) == ["red kettle", "shoes"]


def test_a_pair_of_single_texts_is_scored(client: TestClient) -> None:
    body = client.post("/score", json={"text_1": "shoes", "text_2": "shoes"}).json()
    assert [one["score"] for one in body["data"]] == [1.0]


def test_a_scorer_that_fails_half_way_fails_the_pairs(client: TestClient, model: WordModel) -> None:
    model.seconds_each = 0.1
    pairs = {"text_1": [f"q{n}" for n in range(8)], "text_2": ["a"] * 8, "deadline_ms": 350}
    answer = client.post("/score", json=pairs)
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/rerank", {"query": "a", "texts": []}, "texts: empty, at least one is needed."),
        ("/rerank", {"query": "a", "texts": ["a", 1]}, "texts[1]: not a string."),
        ("/rerank", {"texts": ["a"]}, "query: required."),
        ("/rerank", {"query": "a", "texts": ["a"], "raw_scores": "maybe"}, "raw_scores: input should be a"),
        ("/rerank", {"query": "a"}, "documents: required."),
        ("/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, "top_n: input should be greater than"),
        ("/score", {"text_1": "a"}, "text_2: required."),
        ("/score", {"text_1": " ", "text_2": "a"}, "text_1[0]: empty."),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a"]}, "text_2: 1 for 2 queries: send one query, or"),
        ("/score", {"text_1": "a", "text_2": ["a"] * 1_001}, "text_2: 1,001 items, at most 1,000 are"),
        ("/score", {"text_1": "a", "text_2": "x" * 20_001}, "text_2[0]: 20,001 characters, at most 20,000"),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, path: str, body: object, reason: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"].startswith(reason)


@pytest.mark.parametrize("path", ["/rerank", "/score"])
@pytest.mark.parametrize("body", [b"[]", b'"a"', b"", b"{"])
def test_what_is_no_object_is_refused(client: TestClient, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "bad_body")


@pytest.mark.parametrize("body", [{"query": "a", "texts": ["a"]}, {"query": "a", "documents": ["a"]}])
def test_another_model_is_not_silently_replaced(client: TestClient, body: dict[str, object]) -> None:
    answer = client.post("/rerank", json={**body, "model": "other"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "unknown_model")


def test_an_unforeseen_error_of_one_pair_tells_nothing(make_client: MakeClient, scorer: QueueScorer) -> None:
    scorer.failure = ZeroDivisionError("secret")
    with make_client() as client:
        answer = client.post("/score", json={"model": None, "text_1": "a", "text_2": "b"})
    assert answer.status_code == 500 and "secret" not in answer.text


def test_the_level_may_be_said_in_every_shape(client: TestClient) -> None:
    """At level fast the words model reads the query's first word alone."""
    common = {"query": "running shoes", "level": "fast"}
    tei = client.post("/rerank", json={**common, "texts": DOCUMENTS}).json()
    cohere_shaped = client.post("/v2/rerank", json={**common, "documents": DOCUMENTS}).json()["results"]
    vllm = client.post(
        "/score", json={"level": "fast", "text_1": "running shoes", "text_2": DOCUMENTS}
    ).json()
    assert [(one["index"], one["score"]) for one in tei] == [(1, 1.0), (2, 1.0), (0, 0.0)]
    assert [(one["index"], one["relevance_score"]) for one in cohere_shaped] == [(1, 1.0), (2, 1.0), (0, 0.0)]
    assert [one["score"] for one in vllm["data"]] == [0.0, 1.0, 1.0]
