"""A shopper's search, opensearch-py pointed at the gateway: better pages, normal responses, and never a failed one.

The demo shop in all five languages, the real model, the real OpenSearch. What a product is worth to a query
is the shop's own judgment (`demo.shop.judge`), which knows nothing of the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch
from opensearchpy.helpers import bulk

from csrm_opensearch.templates import install_templates
from csrm_opensearch.testing import OpenSearchNode
from demo.search import StatusConnection, connect, search_body
from demo.shop import ShopQuery, documents, judge, products, queries

from .conftest import LOCALES, Relevance, free_port, running_gateway
from .ray_cluster import ray_cluster, serve_deploy

WINDOW = 40
QUERIES_A_LOCALE = 4


@pytest.fixture(scope="session")
def shop(opensearch: OpenSearchNode) -> Iterator[Callable[[str], str]]:
    """The demo shop in OpenSearch; gives the name of a locale's index."""
    prefix = f"shop-test-{uuid4().hex[:8]}"

    def index(locale: str) -> str:
        return f"{prefix}-{locale.lower()}"

    client = connect(opensearch.url)
    install_templates(client)
    for locale in LOCALES:
        bulk(
            client,
            ({"_index": index(locale), "_id": row["id"], "_source": row} for row in documents(locale)),
            refresh=True,
        )
    yield index
    for locale in LOCALES:
        client.indices.delete(index=index(locale))


@pytest.fixture
def direct(opensearch: OpenSearchNode) -> OpenSearch:
    return connect(opensearch.url)


@pytest.fixture
def through(gateway: str) -> OpenSearch:
    return connect(gateway)


def search(
    client: OpenSearch, index: str, query: ShopQuery, size: int = 10, start: int = 0
) -> dict[str, Any]:
    body = {**search_body(query.locale, query.text, size), "from": start}
    answer: dict[str, Any] = client.search(index=index, body=body)
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def status() -> str:
    """What the gateway said of the last search."""
    return StatusConnection.last_status


def own_page(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from one call of the same search to the next."""
    return {**answer, "took": 0}


def some_query(locale: str = "en") -> ShopQuery:
    return queries(locale)[0]


@pytest.mark.parametrize("locale", LOCALES)
def test_fewer_irrelevant_products_are_shown(
    relevance: Relevance,
    direct: OpenSearch,
    through: OpenSearch,
    shop: Callable[[str], str],
    locale: str,
) -> None:
    """Over the first queries of a locale: fewer defects in the first ten, and most of what went was one."""
    shelf = {product.id: product for product in products()}
    before = after = removed_defects = removed_good = 0
    for query in queries(locale)[:QUERIES_A_LOCALE]:

        def is_defect(product_id: str, query: ShopQuery = query) -> bool:
            return judge(query, shelf[product_id]) in ("C", "I")

        lexical = ids(search(direct, shop(locale), query, size=WINDOW))
        kept = ids(search(through, shop(locale), query, size=WINDOW))
        assert status().startswith("reranked"), status()
        assert set(kept) <= set(lexical)
        gone = set(lexical) - set(kept)
        assert f"removed={len(gone)};" in f"{status()};"
        before += sum(map(is_defect, lexical[:10]))
        after += sum(map(is_defect, kept[:10]))
        removed_defects += sum(map(is_defect, gone))
        removed_good += sum(not is_defect(one) for one in gone)
    assert after < before
    assert removed_defects > removed_good


def test_the_answer_is_a_normal_response(
    relevance: Relevance, direct: OpenSearch, through: OpenSearch, shop: Callable[[str], str]
) -> None:
    query = some_query()
    own = search(direct, shop("en"), query)
    reranked = search(through, shop("en"), query)
    assert status().startswith("reranked")
    assert set(reranked) == set(own)
    assert reranked["timed_out"] is False and reranked["_shards"] == own["_shards"]
    assert set(reranked["hits"]) == set(own["hits"])
    known = {hit["_id"]: hit for hit in search(direct, shop("en"), query, size=WINDOW)["hits"]["hits"]}
    for hit in reranked["hits"]["hits"]:
        assert hit["_source"] == known[hit["_id"]]["_source"]
        assert set(hit) == set(known[hit["_id"]])


def test_pages_follow_one_another_without_a_duplicate_or_a_gap(
    relevance: Relevance, through: OpenSearch, shop: Callable[[str], str]
) -> None:
    query = some_query()
    whole = ids(search(through, shop("en"), query, size=WINDOW))
    paged: list[str] = []
    for start in range(0, WINDOW, 7):
        paged += ids(search(through, shop("en"), query, size=7, start=start))
        assert status().startswith("reranked")
    assert len(paged) == len(set(paged))
    assert paged == whole


def test_without_a_relevance_service_at_start_it_is_opensearchs_own_page(
    opensearch: OpenSearchNode, direct: OpenSearch, shop: Callable[[str], str], tmp_path: Path
) -> None:
    query = some_query()
    with running_gateway(opensearch.url, f"http://127.0.0.1:{free_port()}", tmp_path) as url:
        answer = search(connect(url), shop("en"), query)
    assert status().startswith("skipped")
    assert own_page(answer) == own_page(search(direct, shop("en"), query))


def test_a_crash_costs_no_search_and_a_new_deployment_takes_over(
    relevance: Relevance,
    direct: OpenSearch,
    through: OpenSearch,
    shop: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """`csrm serve` is killed; then the shipped config is deployed on another Ray cluster, on the same port."""
    query = queries("es")[QUERIES_A_LOCALE]  # asked by no other test: no judgment of it is remembered
    relevance.crash()
    answer = search(through, shop("es"), query)
    assert status().startswith("skipped")
    assert own_page(answer) == own_page(search(direct, shop("es"), query))

    with ray_cluster(relevance.dashboard_port, tmp_path / "ray.log") as dashboard_url:
        serve_deploy(dashboard_url, relevance.port, tmp_path)
        until = time.monotonic() + 180
        while not status().startswith("reranked"):
            assert time.monotonic() < until, status()
            time.sleep(0.5)
            search(through, shop("es"), query)
