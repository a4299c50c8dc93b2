"""Properties of any search at all, on the real node: what the gateway may never change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP
from tests.integration.gateway.conftest import settings as gateway_settings
from tests.integration.gateway.running import call, running_gateway
from tests.integration.gateway.word_service import WordService

QUERIES: list[Any] = [
    {"match": {"title": "phone case"}},
    {"match": {"title": {"query": "phone", "fuzziness": "AUTO"}}},
    {"multi_match": {"query": "good case", "fields": ["title^2", "brand"]}},
    {"bool": {"must": [{"match": {"title": "case"}}], "filter": {"range": {"price": {"gte": 20}}}}},
    {"function_score": {"query": {"match": {"title": "phone"}}, "field_value_factor": {"field": "price"}}},
    {"query_string": {"query": "title:phone AND junk:true"}},
    {"nested": {"path": "variants", "query": {"match": {"variants.size": "M"}}}},
    {"match_all": {}},
    {"no_such_query": {}},
]
OPTIONS: dict[str, list[Any]] = {
    "query": QUERIES,
    "from": [0, 3, 95, 120, 400, -1, "5"],
    "size": [0, 1, 7, 20, 120, 20_000, None],
    "sort": ["_score", [{"price": "desc"}], [{"_score": "asc"}], ["tens", "_score"], [{"no_field": "asc"}]],
    "_source": [False, True, ["price"], {"excludes": ["title"]}],
    "fields": [["*"], ["price"], ["title", {"field": "variants.size"}], [], "title"],
    "docvalue_fields": [["brand"], ["price", "tens"], ["*"]],
    "stored_fields": [["price"], "_none_", ["title"]],
    "script_fields": [{"title": {"script": "1"}}, {"two": {"script": "2"}}],
    "highlight": [{"fields": {"title": {}}}],
    "aggs": [{"b": {"terms": {"field": "brand"}}}],
    "suggest": [
        {"s": {"text": "phine", "term": {"field": "title"}}},
        {"s": {"prefix": "p", "completion": {"field": "title.complete", "size": 3}}},
    ],
    "collapse": [
        {"field": "tens"},
        {"field": "brand", "inner_hits": {"name": "i", "size": 1}},
        {"field": "no"},
    ],
    "track_total_hits": [True, False, 7],
    "min_score": [0.01, 0.05],
    "explain": [True],
    "version": [True],
    "post_filter": [{"term": {"brand": "Acme"}}],
    "rescore": [{"window_size": 10, "query": {"rescore_query": {"match": {"title": "7"}}}}],
    "terminate_after": [400],
    "ext": [{}, None, {"unknown": 1}],
    "no_such_member": [1],
}
PARAMETERS = ["from=4", "size=6", "q=phone", "_source=title", "sort=price:asc", "rest_total_hits_as_int=true"]
PARAMETERS += ["track_total_hits=true", "typed_keys", "pretty", "size=x", "filter_path=hits.total", "human"]

EVERYTHING = {
    "query": QUERIES[0],
    "fields": ["*"],
    "highlight": OPTIONS["highlight"][0],
    "aggs": OPTIONS["aggs"][0],
}
EVERYTHING |= {"suggest": OPTIONS["suggest"][0], "sort": [{"price": "asc"}], "explain": True}

searches = st.fixed_dictionaries(
    {"query": st.sampled_from(QUERIES)},
    optional={name: st.sampled_from(values) for name, values in OPTIONS.items() if name != "query"},
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*OPTIONS, "match", "bool", "title", "csrm"]), inner, max_size=3)
    ),
    max_leaves=12,
)
bodies = searches.map(lambda body: json.dumps(body).encode()) | json_values.map(
    lambda value: json.dumps(value).encode()
)
query_strings = st.lists(st.sampled_from(PARAMETERS), max_size=2, unique=True).map("&".join)
real_node = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def gateway(opensearch: OpenSearchNode, shop: str, _service: WordService) -> Iterator[str]:
    _service.reset()
    with running_gateway(gateway_settings(opensearch.url, _service.url)) as url:
        yield url


@real_node
@example(json.dumps({**EVERYTHING, "size": 3}).encode(), "pretty")
@example(json.dumps({**EVERYTHING, "from": 400}).encode(), "pretty&human")
@given(bodies, query_strings)
def test_without_judgments_no_search_differs(
    opensearch: OpenSearchNode, gateway: str, _service: WordService, body: bytes, query_string: str
) -> None:
    _service.how = "refuses"
    path = f"/{SHOP}/_search?{query_string}"
    ours, theirs = (call(url, "POST", path, body, JSON) for url in (gateway, opensearch.url))
    if b'"csrm"' in body and ours.status == 400 and b"csrm_request_exception" in ours.body:
        return  # said to the gateway, and wrong
    assert (ours.status, ours.lasting) == (theirs.status, theirs.lasting), ours.csrm


@real_node
@given(searches, query_strings)
def test_with_judgments_products_go_and_move_and_nothing_else(
    opensearch: OpenSearchNode, gateway: str, _service: WordService, body: dict[str, Any], query_string: str
) -> None:
    """The status is the same; every hit is one of OpenSearch's, as it wrote it; all else is untouched."""
    _service.how = "well"
    path = f"/{SHOP}/_search?{query_string}"
    ours, theirs = (call(url, "POST", path, body, JSON) for url in (gateway, opensearch.url))
    event(ours.csrm.partition("; took")[0].partition("; window")[0])
    assert ours.status == theirs.status
    if not ours.csrm.startswith("reranked"):
        assert ours.lasting == theirs.lasting, ours.csrm
        return
    page, own = ours.json, theirs.json
    assert {name: page[name] for name in page if name not in CHANGED} == {
        name: own[name] for name in own if name not in CHANGED
    }
    assert set(page["hits"]) == set(own["hits"])
    everything = {**body, "from": 0, "size": 250}
    rest = "&".join(part for part in query_string.split("&") if not part.startswith(("from", "size")))
    known = call(opensearch.url, "POST", f"/{SHOP}/_search?{rest}", everything, JSON).json["hits"]["hits"]
    assert all(hit in known for hit in page["hits"]["hits"])
    assert len({hit["_id"] for hit in page["hits"]["hits"]}) == len(page["hits"]["hits"])


JSON = {"Content-Type": "application/json"}
CHANGED = {"took", "hits", "timed_out", "profile"}
