"""TEI, Jina and vLLM against `csrm serve`, over HTTP: Haystack's clients of them, and what they publish of their APIs.

Haystack asks `/rerank` of each and reads some fields of the answers. `/score` has no client: its fields, and those that
Haystack does not read, are written here as the servers publish them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from .conftest import Relevance

MODEL = "csrm-gemma3-270m"
QUERY = "iphone 15 case"
CASE = "Silicone case for iPhone 15, black"
DOCUMENTS = ["Non-stick frying pan 28 cm", CASE, "Stainless steel saucepan"]


@dataclass(frozen=True)
class Haystack:
    """Of the packages haystack-ai, huggingface-api-haystack, jina-haystack and vllm-haystack."""

    document: Any
    key: Any
    tei: Any
    jina: Any
    vllm: Any

    def documents(self) -> list[Any]:
        return [self.document(content=text) for text in DOCUMENTS]


@pytest.fixture(scope="module")
def haystack() -> Iterator[Haystack]:
    """The clients, without the statistics that Haystack sends to its makers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
        patch.setitem(sys.modules, "torch", None)  # it would take seconds to load and is not needed here
        from haystack import Document
        from haystack.telemetry import _telemetry
        from haystack.utils import Secret
        from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
        from haystack_integrations.components.rankers.jina import JinaRanker
        from haystack_integrations.components.rankers.vllm import VLLMRanker
    assert _telemetry.telemetry is None
    key = Secret.from_token("none")
    yield Haystack(Document, key, HuggingFaceTEIRanker, JinaRanker, VLLMRanker)


Client = Callable[[Haystack, str], Any]

CLIENTS: dict[str, Client] = {
    "TEI": lambda haystack, url: haystack.tei(url=url, token=haystack.key),
    "Jina": lambda haystack, url: haystack.jina(
        base_url=f"{url}/v1/rerank", model=MODEL, api_key=haystack.key
    ),
    "Jina, no version": lambda haystack, url: haystack.jina(
        base_url=f"{url}/rerank", model=MODEL, api_key=haystack.key
    ),
    "vLLM": lambda haystack, url: haystack.vllm(api_base_url=f"{url}/v1", model=MODEL, api_key=haystack.key),
    "vLLM, no version": lambda haystack, url: haystack.vllm(api_base_url=url, model=MODEL, api_key=None),
}


def ours(api: httpx.Client) -> list[tuple[str, float]]:
    """The documents and their scores by this service's own API, best first."""
    judged = api.post("/v1/relevance", json={"query": QUERY, "products": DOCUMENTS}).json()["results"]
    ranked = sorted(judged, key=lambda one: -one["score"])
    return [(DOCUMENTS[one["index"]], round(one["score"], 6)) for one in ranked]


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_haystacks_clients_rank_as_our_own_api_does(
    haystack: Haystack, relevance: Relevance, api: httpx.Client, client: Client
) -> None:
    ranker = client(haystack, relevance.url)
    expected = ours(api)
    assert expected[0][0] == CASE
    every = ranker.run(query=QUERY, documents=haystack.documents())
    assert [(one.content, one.score) for one in every["documents"]] == expected
    best = ranker.run(query=QUERY, documents=haystack.documents(), top_k=2)
    assert [(one.content, one.score) for one in best["documents"]] == expected[:2]
    if "meta" in best:  # of Jina and vLLM
        assert best["meta"]["model"].startswith(f"{MODEL}@")
        assert best["meta"]["usage"]["total_tokens"] == 0


async def test_haystacks_clients_rank_in_an_event_loop_too(
    haystack: Haystack, relevance: Relevance, api: httpx.Client
) -> None:
    expected = ours(api)
    for name in ("TEI", "Jina", "vLLM"):
        ranker = CLIENTS[name](haystack, relevance.url)
        found = await ranker.run_async(query=QUERY, documents=haystack.documents())
        assert [(one.content, one.score) for one in found["documents"]] == expected, name


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_haystacks_clients_raise_an_error_that_says_why(
    haystack: Haystack, relevance: Relevance, client: Client
) -> None:
    with pytest.raises(RuntimeError, match="query: empty"):
        client(haystack, relevance.url).run(query=" ", documents=haystack.documents())


def test_a_model_that_is_not_served_is_named_to_haystacks_client(
    haystack: Haystack, relevance: Relevance
) -> None:
    ranker = haystack.vllm(api_base_url=relevance.url, model="BAAI/bge-reranker-base", api_key=None)
    with pytest.raises(RuntimeError, match=f"ask for {MODEL}@"):
        ranker.run(query=QUERY, documents=haystack.documents())


def test_haystacks_client_of_tei_gets_scores_before_the_sigmoid(
    haystack: Haystack, relevance: Relevance, api: httpx.Client
) -> None:
    ranker = haystack.tei(url=relevance.url, token=None, raw_scores=True)
    found = ranker.run(query=QUERY, documents=haystack.documents())["documents"]
    expected = ours(api)
    assert [one.content for one in found] == [text for text, _ in expected]
    sigmoid = [1 / (1 + math.exp(-one.score)) for one in found]
    assert sigmoid == pytest.approx([score for _, score in expected], abs=2e-6)


class Published(BaseModel):
    """An object of another server's API: no field is missing or of another type, and none is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid")


# TEI: schemas RerankRequest and Rank of docs/openapi.json in huggingface/text-embeddings-inference (version 1.6.0).


class TeiRank(Published):
    index: int
    score: float
    text: str | None = None


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"raw_scores": False, "return_text": True, "truncate": False, "truncation_direction": "right"},
        {"raw_scores": True, "return_text": False, "truncate": None, "truncation_direction": "left"},
    ],
    ids=["required", "with text", "raw"],
)
def test_what_tei_publishes_is_accepted_and_answered(api: httpx.Client, asked: dict[str, object]) -> None:
    answer = api.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS, **asked})
    assert answer.status_code == 200, answer.text
    ranks = TypeAdapter(list[TeiRank]).validate_json(answer.content)
    assert ranks[0].index == 1
    assert sorted(one.index for one in ranks) == [0, 1, 2]
    assert [one.score for one in ranks] == sorted((one.score for one in ranks), reverse=True)
    told = [DOCUMENTS[one.index] if asked.get("return_text") else None for one in ranks]
    assert [one.text for one in ranks] == told
    assert all(0 <= one.score <= 1 for one in ranks) or asked["raw_scores"]


# vLLM: vllm/entrypoints/pooling/scoring/protocol.py and docs/models/pooling_models/scoring.md in vllm-project/vllm
# (October 2026). An answer as a whole may have further fields there.


class VllmUsage(Published):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None


class VllmDocument(Published):
    text: str | None = None
    multi_modal: None = None


class VllmResult(Published):
    index: int
    document: VllmDocument
    relevance_score: float


class VllmRerankAnswer(Published):
    model_config = ConfigDict(extra="allow")

    id: str
    model: str
    usage: VllmUsage
    results: list[VllmResult]


class VllmScore(Published):
    index: int
    object: Literal["score"]
    score: float


class VllmScoreAnswer(Published):
    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[VllmScore]
    usage: VllmUsage


OPTIONAL = {
    "truncate_prompt_tokens": 256,
    "use_activation": True,
    "max_tokens_per_query": 0,
    "max_tokens_per_doc": 0,
    "instruction": "Rank the products.",
    "chat_template_kwargs": {},
    "priority": 0,
    "request_id": "a",
    "user": "b",
}
"""What vLLM's requests may have beside the texts."""


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("asked", "best"),
    [
        ({"encoding_format": "float", "queries": QUERY, "documents": CASE}, 0),
        ({"queries": QUERY, "documents": DOCUMENTS}, 1),
        ({"queries": [QUERY] * 3, "documents": DOCUMENTS, **OPTIONAL}, 1),
        ({"queries": QUERY, "items": DOCUMENTS}, 1),
        ({"text_1": QUERY, "text_2": DOCUMENTS}, 1),
        ({"data_1": QUERY, "data_2": DOCUMENTS}, 1),
    ],
    ids=["one pair", "one query", "pairs", "items", "texts", "data"],
)
def test_what_vllm_publishes_of_score_is_accepted_and_answered(
    api: httpx.Client, path: str, asked: dict[str, object], best: int
) -> None:
    answer = api.post(path, json={"model": MODEL, **asked})
    assert answer.status_code == 200, answer.text
    told = VllmScoreAnswer.model_validate_json(answer.content)
    assert [one.index for one in told.data] == list(range(len(told.data)))  # in the order of the request
    assert max(told.data, key=lambda one: one.score).index == best
    by_text = dict(ours(api))
    assert told.data[best].score == by_text[CASE]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"documents": DOCUMENTS}, 3),
        ({"documents": DOCUMENTS, "top_n": 0, **OPTIONAL}, 3),
        ({"documents": DOCUMENTS, "top_n": 2}, 2),
        ({"documents": CASE}, 1),
    ],
    ids=["all", "top 0", "top 2", "one"],
)
def test_what_vllm_publishes_of_rerank_is_accepted_and_answered(
    api: httpx.Client, path: str, asked: dict[str, object], count: int
) -> None:
    documents = {} if path == "/rerank" else {"return_documents": True}  # the others are Cohere's here
    answer = api.post(path, json={"model": MODEL, "query": QUERY, **asked, **documents})
    assert answer.status_code == 200, answer.text
    told = VllmRerankAnswer.model_validate_json(answer.content)
    assert [(one.document.text, one.relevance_score) for one in told.results] == ours(api)[:count]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_jinas_return_documents_is_heard(api: httpx.Client, path: str) -> None:
    for wanted in (True, False):
        asked = {"query": QUERY, "documents": [{"text": text} for text in DOCUMENTS], "top_n": 1}
        answer = api.post(path, json={**asked, "return_documents": wanted}).json()
        (best,) = answer["results"]
        assert best["index"] == 1
        assert best.get("document") == ({"text": CASE} if wanted else None)


@pytest.mark.parametrize(
    ("path", "field"),
    [("/rerank", "texts"), ("/rerank", "documents"), ("/v1/rerank", "documents"), ("/score", "documents")],
)
def test_no_texts_at_all_are_refused_by_name(api: httpx.Client, path: str, field: str) -> None:
    query = "queries" if path == "/score" else "query"
    answer = api.post(path, json={query: QUERY, field: []})
    assert answer.status_code == 422
    assert f"{field}: empty, at least one is needed." in answer.text
