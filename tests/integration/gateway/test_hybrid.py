"""Hybrid searches on a node with neural-search: judged where their order does not depend on their size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch, helpers

from csrm_opensearch.testing import OpenSearchNode, opensearch_node
from tests.integration.gateway.conftest import MAPPINGS, product, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.word_service import WordService

INDEX = f"gw-hybrid-{uuid4().hex[:8]}"
PIPELINE = f"{INDEX}-normalise"


@pytest.fixture(scope="module")
def hybrid_node() -> Iterator[OpenSearchNode]:
    with opensearch_node(plugins=True) as node, OpenSearch(node.url, timeout=60) as client:
        index = {"number_of_shards": 1, "number_of_replicas": 0}
        client.indices.create(index=INDEX, body={"settings": {"index": index}, "mappings": MAPPINGS})
        rows = ({"_index": INDEX, "_id": str(n)} | product(n) for n in range(120))
        helpers.bulk(client, rows, refresh=True)
        pipeline = {"phase_results_processors": [{"normalization-processor": {}}]}
        client.transport.perform_request("PUT", f"/_search/pipeline/{PIPELINE}", body=pipeline)
        yield node
        client.indices.delete(index=INDEX)
        client.transport.perform_request("DELETE", f"/_search/pipeline/{PIPELINE}")


@pytest.fixture
def gateway(hybrid_node: OpenSearchNode, service: WordService) -> Iterator[str]:
    told = {"indices": [INDEX], "window": 60, "text_fields": ["title"]}
    with running_gateway(settings(hybrid_node.url, service.url, **told)) as url:
        yield url


def search(url: str, **body: Any) -> Answer:
    return call(url, "POST", f"/{INDEX}/_search?search_pipeline={PIPELINE}", body)


def hybrid(**more: Any) -> dict[str, Any]:
    same_text = [{"match": {"title": "phone case"}}, {"match_phrase": {"title": "phone case"}}]
    return {"hybrid": {"queries": same_text, **more}}


def test_the_window_is_judged(hybrid_node: OpenSearchNode, gateway: str) -> None:
    own = {hit["_id"]: hit for hit in search(hybrid_node.url, query=hybrid(), size=60).json["hits"]["hits"]}
    answer = search(gateway, query=hybrid())
    assert answer.csrm.startswith("reranked; window=60; removed=2"), answer.csrm
    assert len(answer.ids) == 10
    for hit in answer.json["hits"]["hits"]:
        assert hit == own[hit["_id"]]
        assert "junk" not in hit["_source"]["title"]


def test_beyond_the_window_a_search_that_cannot_be_paged_is_left_alone(
    hybrid_node: OpenSearchNode, gateway: str
) -> None:
    ours, theirs = (search(url, query=hybrid(), size=61) for url in (gateway, hybrid_node.url))
    assert ours.csrm == "skipped; reason=hybrid-depth"
    assert ours.lasting == theirs.lasting


def test_pages_with_a_depth_continue_each_other(hybrid_node: OpenSearchNode, gateway: str) -> None:
    query = hybrid(pagination_depth=100)
    own = search(hybrid_node.url, query=query, size=250).json["hits"]["hits"]
    gone = {hit["_id"] for hit in own[:60] if "junk" in hit["_source"].get("title", "")}
    turned = [
        one
        for start in range(0, len(own) - len(gone), 7)
        for one in search(gateway, query=query, size=7, **{"from": start}).ids
    ]
    assert len(turned) == len(set(turned))
    assert set(turned) == {hit["_id"] for hit in own} - gone
    assert turned[60 - len(gone) :] == [hit["_id"] for hit in own[60:]]


def test_a_broken_service_gives_opensearchs_own_page(
    hybrid_node: OpenSearchNode, gateway: str, service: WordService
) -> None:
    service.how = "down"
    for query in (hybrid(), hybrid(pagination_depth=100)):
        ours, theirs = (search(url, query=query) for url in (gateway, hybrid_node.url))
        assert ours.csrm == "skipped; reason=relevance-down"
        assert ours.lasting == theirs.lasting
