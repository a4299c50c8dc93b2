"""The client for applications without a proxy: the pages of the gateway, in-process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opensearchpy import AsyncOpenSearch, NotFoundError, OpenSearch, RequestError

import csrm_opensearch
from csrm_opensearch import AsyncRerankingClient, RerankingClient
from csrm_opensearch.errors import RequestOptionsError
from csrm_opensearch.profiles import Profile
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP, SMALL, settings
from tests.integration.gateway.running import call
from tests.integration.gateway.word_service import WordService

CASE: dict[str, Any] = {"query": {"match": {"title": "phone case"}}}


def profile(**more: Any) -> Profile:
    return settings("http://unused", "http://unused", **more).profiles[0]


@pytest.fixture
def reranking(opensearch: OpenSearchNode, shop: str, service: WordService) -> Iterator[RerankingClient]:
    with RerankingClient(OpenSearch(opensearch.url, timeout=60), profile(), service.url) as client:
        yield client


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in {"took", "status"}}


@pytest.mark.parametrize(
    ("body", "params"),
    [
        (CASE, {}),
        (CASE, {"from_": 40, "size": 20}),
        (CASE, {"params": {"from": 130, "size": 3}}),
        ({**CASE, "from": 95, "size": 20}, {}),
        ({**CASE, "sort": [{"price": "desc"}]}, {}),
        ({**CASE, "_source": ["price"], "aggs": {"b": {"terms": {"field": "brand"}}}}, {}),
        (None, {"q": "phone case", "df": "title"}),
        (json.dumps(CASE), {"_source": ["title"]}),
        ({**CASE, "ext": {"csrm": {"explain": True, "window": 20}}}, {}),
    ],
)
def test_the_same_pages_as_through_the_gateway(
    reranking: RerankingClient, gateway: str, body: Any, params: dict[str, Any]
) -> None:
    page = reranking.search(index=SHOP, body=body, **params)
    assert page.csrm_status.startswith("reranked; window=")
    with OpenSearch(gateway) as through:
        theirs = lasting(through.search(index=SHOP, body=body, **params))
    ours = lasting(page)
    for answer in (ours, theirs):
        answer.get("csrm", {}).pop("timings_ms", None)
    assert ours == theirs


@pytest.mark.parametrize(
    ("body", "index", "reason"),
    [
        (CASE, FOREIGN, "no-profile"),
        ({"query": {"match_all": {}}}, SHOP, "no-query-text"),
        (CASE, SMALL, "window-rejected"),
        (CASE, f"{SHOP},{FOREIGN}", "no-profile"),
    ],
)
def test_other_searches_are_opensearchs_own(
    reranking: RerankingClient, opensearch: OpenSearchNode, body: Any, index: str, reason: str
) -> None:
    page = reranking.search(index=index, body=body)
    assert page.csrm_status == f"skipped; reason={reason}"
    assert lasting(page) == lasting(call(opensearch.url, "POST", f"/{index}/_search", body).json)


def test_a_broken_service_costs_nothing_but_the_better_page(
    reranking: RerankingClient, opensearch: OpenSearchNode, service: WordService
) -> None:
    service.how = "down"
    page = reranking.search(index=SHOP, body=CASE)
    assert page.csrm_status == "skipped; reason=relevance-down"
    assert lasting(page) == lasting(call(opensearch.url, "POST", f"/{SHOP}/_search", CASE).json)


def test_errors_are_the_wrapped_clients(reranking: RerankingClient) -> None:
    with pytest.raises(NotFoundError):
        reranking.search(index=f"{SHOP}-absent", body=CASE)
    with pytest.raises(RequestError, match="no_such_query"):
        reranking.search(index=SHOP, body={"query": {"no_such_query": {}}})
    with pytest.raises(RequestError):
        reranking.search(index=SHOP, body={**CASE, "sort": [{"price": "sideways"}]})
    with pytest.raises(RequestOptionsError, match=r"^ext\.csrm\.window: "):
        reranking.search(index=SHOP, body={**CASE, "ext": {"csrm": {"window": 0}}})


def test_everything_else_is_the_wrapped_clients(reranking: RerankingClient) -> None:
    assert reranking.ping()
    assert reranking.count(index=SHOP)["count"] == 250
    assert reranking.indices.exists(index=SHOP)
    assert reranking.get(index=SHOP, id="1")["_source"]["brand"] == "Acme"


@pytest.mark.parametrize("as_text", [False, True])
def test_batches(reranking: RerankingClient, gateway: str, as_text: bool) -> None:
    deep = {**CASE, "from": 120, "size": 5}
    parts: list[Any] = [{"index": SHOP}, CASE, {"index": FOREIGN}, CASE, {}, deep, {"index": SMALL}, CASE]
    body: Any = "\n".join(map(json.dumps, parts)) if as_text else parts
    page = reranking.msearch(body=body, index=SHOP)
    assert page.csrm_status.startswith("reranked; searches=2/4")
    assert [
        answer.csrm_status.partition("; took")[0].partition("; window")[0] for answer in page["responses"]
    ] == [
        "reranked",
        "skipped; reason=no-profile",
        "reranked",
        "skipped; reason=window-rejected",
    ]
    with OpenSearch(gateway) as through:
        theirs = through.msearch(body=body, index=SHOP)["responses"]
    assert [lasting(answer) for answer in page["responses"]] == [lasting(answer) for answer in theirs]


def test_from_several_threads(reranking: RerankingClient) -> None:
    pages: dict[int, list[str]] = {}

    def turn(start: int) -> None:
        hits = reranking.search(index=SHOP, body={**CASE, "from": start, "size": 5})["hits"]["hits"]
        pages[start] = [hit["_id"] for hit in hits]

    threads = [threading.Thread(target=turn, args=(5 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turned = [one for start in sorted(pages) for one in pages[start]]
    assert len(set(turned)) == 40


async def test_the_async_twin(
    opensearch: OpenSearchNode, shop: str, service: WordService, gateway: str
) -> None:
    wrapped = AsyncOpenSearch(opensearch.url, timeout=60)
    async with AsyncRerankingClient(wrapped, [profile()], service.url) as client:
        page = await client.search(index=SHOP, body=CASE)
        assert page.csrm_status.startswith("reranked")
        assert lasting(page) == lasting(call(gateway, "POST", f"/{SHOP}/_search", CASE).json)
        batch = await client.msearch(body=[{"index": SHOP}, CASE])
        assert lasting(batch["responses"][0]) == lasting(page)
        assert (await client.count(index=SHOP))["count"] == 250


def test_closing_ends_the_thread(opensearch: OpenSearchNode, service: WordService) -> None:
    client = RerankingClient(OpenSearch(opensearch.url), profile(), service.url)
    client.close()
    client.close()
    assert not any(
        thread.name == "csrm-reranking" and thread is client._thread for thread in threading.enumerate()
    )


def test_the_package_says_what_it_offers() -> None:
    assert csrm_opensearch.__all__ == ["AsyncRerankingClient", "RerankingClient"]
    with pytest.raises(AttributeError):
        csrm_opensearch.nothing_of_that_name  # noqa: B018
