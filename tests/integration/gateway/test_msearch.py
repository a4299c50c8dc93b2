"""Batches: each search goes its own way, in one request and one answer."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP, SMALL
from tests.integration.gateway.running import Answer, call
from tests.integration.gateway.word_service import WordService

CASE: dict[str, Any] = {"query": {"match": {"title": "phone case"}}, "size": 5}
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(*searches: tuple[dict[str, Any], dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(part).encode() + b"\n" for search in searches for part in search)


def batch(url: str, body: bytes, path: str = "/_msearch", **more: Any) -> Answer:
    answer = call(url, "POST", path, body, NDJSON | more.pop("headers", {}), **more)
    assert answer.status == 200, answer.body
    return answer


def own(url: str, body: dict[str, Any], index: str = SHOP, query_string: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = call(url, "POST", f"/{index}/_search{query_string}", body).json
    return answer


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in {"took", "status"}}


def test_each_search_goes_its_own_way(opensearch: OpenSearchNode, gateway: str) -> None:
    deep = {**CASE, "from": 120}
    sorted_by_price = {**CASE, "sort": [{"price": "desc"}]}
    wrong = {"query": {"range": {"price": {"gte": "cheap"}}}}
    body = lines(
        ({"index": SHOP}, CASE),
        ({"index": FOREIGN}, CASE),
        ({"index": [SHOP]}, deep),
        ({"index": SHOP}, {"query": {"match_all": {}}, "size": 2}),
        ({"index": SHOP}, wrong),
        ({"index": "no-such-index"}, CASE),
        ({"index": SHOP}, {**CASE, "ext": {"csrm": {"mode": "off"}}}),
        ({"index": SMALL}, CASE),
        ({"index": SHOP}, sorted_by_price),
        ({}, CASE),
    )
    answer = batch(gateway, body)
    responses = answer.json["responses"]
    assert answer.csrm.startswith("reranked; searches=3/10; took=")
    assert answer.csrm.endswith("; skipped=no-query-text,off,window-rejected")
    for place, search in ((0, CASE), (2, deep), (8, sorted_by_price)):
        assert lasting(responses[place]) == lasting(own(gateway, search))
    for place, search, index in (
        (1, CASE, FOREIGN),
        (3, {"query": {"match_all": {}}, "size": 2}, SHOP),
        (6, CASE, SHOP),
        (7, CASE, SMALL),
    ):
        assert lasting(responses[place]) == lasting(own(opensearch.url, search, index))
    assert [response["status"] for response in responses] == [200] * 4 + [400, 404] + [200] * 4
    alone = batch(opensearch.url, lines(({"index": SHOP}, wrong)))
    assert responses[4] == alone.json["responses"][0]


def test_a_batch_that_opensearch_refuses_is_refused_in_its_words(
    opensearch: OpenSearchNode, gateway: str
) -> None:
    body = lines(({"index": SHOP}, CASE), ({"index": SHOP}, {"query": {"no_such_query": {}}}))
    ours, theirs = (call(url, "POST", "/_msearch", body, NDJSON) for url in (gateway, opensearch.url))
    assert (ours.status, ours.body) == (theirs.status, theirs.body) and ours.status == 400


def test_the_index_of_the_path_counts_where_a_header_names_none(gateway: str) -> None:
    body = lines(({}, CASE), ({"index": FOREIGN}, CASE)) + b"\n" + json.dumps(CASE).encode() + b"\n"
    answer = batch(gateway, body, f"/{SHOP}/_msearch")
    assert answer.csrm.startswith("reranked; searches=2/3")
    first, _, third = answer.json["responses"]
    assert lasting(first) == lasting(third) == lasting(own(gateway, CASE))


def test_header_parameters_are_kept(gateway: str, opensearch: OpenSearchNode) -> None:
    header = {"index": SHOP, "preference": "_local", "search_type": "dfs_query_then_fetch"}
    answer = batch(gateway, lines((header, CASE)), "/_msearch?max_concurrent_searches=1&typed_keys=true")
    assert answer.csrm.startswith("reranked; searches=1/1")
    assert len(answer.json["responses"][0]["hits"]["hits"]) == 5


def test_totals_as_numbers(gateway: str) -> None:
    path = "/_msearch?rest_total_hits_as_int=true"
    (response,) = batch(gateway, lines(({"index": SHOP}, CASE)), path).json["responses"]
    assert response["hits"]["total"] == own(gateway, CASE)["hits"]["total"]["value"]


def test_pretty_and_packed(gateway: str) -> None:
    body = gzip.compress(lines(({"index": SHOP}, {**CASE, "size": 50})))
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    answer = batch(gateway, body, "/_msearch?pretty", headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.plain.startswith(b'{\n  "took" : ')
    assert len(answer.json["responses"][0]["hits"]["hits"]) == 50


def test_wrong_options_are_named(gateway: str) -> None:
    body = lines(({"index": SHOP}, CASE), ({"index": FOREIGN}, {**CASE, "ext": {"csrm": {"window": 0}}}))
    answer = call(gateway, "POST", "/_msearch", body, NDJSON)
    assert (answer.status, answer.json["error"]["type"]) == (400, "csrm_request_exception")
    assert answer.json["error"]["reason"].startswith("ext.csrm.window: ")


@pytest.mark.parametrize("how", ["down", "garbage"])
def test_a_broken_service_costs_nothing_but_the_better_page(
    opensearch: OpenSearchNode, gateway: str, service: WordService, how: str
) -> None:
    service.how = how
    body = lines(
        ({"index": SHOP}, CASE), ({"index": SHOP}, {**CASE, "from": 130}), ({"index": FOREIGN}, CASE)
    )
    ours, theirs = (batch(url, body) for url in (gateway, opensearch.url))
    assert ours.csrm == f"skipped; reason=relevance-{how}"
    assert ours.lasting == theirs.lasting


def test_the_same_search_twice_is_judged_alike(gateway: str) -> None:
    first, second = batch(gateway, lines(*[({"index": SHOP}, CASE)] * 2)).json["responses"]
    assert lasting(first) == lasting(second)
