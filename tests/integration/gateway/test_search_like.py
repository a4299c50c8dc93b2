"""What is like a search and is none that the gateway reads: it passes through, on an index with a profile too.

PPL, SQL and asynchronous searches need plugins that this node lacks; what it says of them comes back as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import call, running_gateway
from tests.integration.gateway.word_service import WordService

MATCH = {"match": {"title": "phone case"}}
NDJSON = {"Content-Type": "application/x-ndjson"}
TEMPLATE = {"source": {"query": MATCH}, "params": {}}
RATED = {
    "requests": [
        {"id": "q", "request": {"query": MATCH}, "ratings": [{"_index": SHOP, "_id": "1", "rating": 1}]}
    ],
    "metric": {"precision": {"k": 5}},
}


@pytest.fixture(scope="module")
def gateway(opensearch: OpenSearchNode, shop: str, _service: WordService) -> Iterator[str]:
    _service.reset()
    with running_gateway(settings(opensearch.url, _service.url)) as url:
        yield url


@pytest.mark.parametrize(
    ("method", "path", "body", "works"),
    [
        ("POST", f"/{SHOP}/_count", {"query": MATCH}, True),
        ("POST", f"/{SHOP}/_explain/1", {"query": MATCH}, True),
        ("POST", f"/{SHOP}/_validate/query?rewrite=true", {"query": MATCH}, True),
        ("GET", f"/{SHOP}/_field_caps?fields=*", None, True),
        ("GET", f"/{SHOP}/_search_shards", None, True),
        ("GET", f"/{SHOP}/_termvectors/1?fields=title", None, True),
        ("POST", f"/{SHOP}/_mget", {"ids": ["1", "2"]}, True),
        ("POST", f"/{SHOP}/_rank_eval", RATED, True),
        ("POST", f"/{SHOP}/_msearch/template", b"{}\n" + json.dumps(TEMPLATE).encode() + b"\n", True),
        ("POST", "/_render/template", TEMPLATE, True),
        ("POST", f"/{SHOP}/_delete_by_query?max_docs=0", {"query": MATCH}, False),
        ("POST", f"/{SHOP}/_update_by_query", {"query": {"match": {"title": "nothing has these"}}}, True),
        ("POST", f"/{SHOP}/_pit", None, False),
        ("POST", f"/{SHOP}/_async_search", {"query": MATCH}, False),
        ("POST", f"/_plugins/_asynchronous_search?index={SHOP}", {"query": MATCH}, False),
        (
            "POST",
            "/_plugins/_sql",
            {"query": f"SELECT title FROM {SHOP} WHERE match(title, 'phone case')"},
            False,
        ),
        ("POST", "/_plugins/_ppl", {"query": f"source={SHOP} | where match(title, 'phone case')"}, False),
        ("GET", f"/_cat/count/{SHOP}?format=json&h=count", None, True),
    ],
)
def test_it_passes_through(
    opensearch: OpenSearchNode,
    gateway: str,
    _service: WordService,
    method: str,
    path: str,
    body: Any,
    works: bool,
) -> None:
    headers = NDJSON if isinstance(body, bytes) else None
    ours, theirs = (call(url, method, path, body, headers) for url in (gateway, opensearch.url))
    assert (theirs.status == 200) is works, theirs.body
    assert (ours.status, ours.lasting) == (theirs.status, theirs.lasting)
    assert ours.csrm == ""
    assert not _service.asked


def test_a_point_in_time_is_paged_through_untouched(opensearch: OpenSearchNode, gateway: str) -> None:
    opened = call(gateway, "POST", f"/{SHOP}/_search/point_in_time?keep_alive=1m")
    assert opened.status == 200
    seen: list[str] = []
    body: dict[str, Any] = {
        "size": 100,
        "query": MATCH,
        "sort": [{"price": "asc"}],
        "pit": {"id": opened.json["pit_id"]},
    }
    while True:
        page = call(gateway, "POST", "/_search", body)
        assert page.csrm == ""
        hits = page.json["hits"]["hits"]
        if not hits:
            break
        seen += [hit["_id"] for hit in hits]
        body["search_after"] = hits[-1]["sort"]
    assert len(seen) == len(set(seen)) == 249, "all that have a title, junk too"
    gone = call(gateway, "DELETE", "/_search/point_in_time", {"pit_id": [opened.json["pit_id"]]})
    assert (gone.status, gone.json["pits"][0]["successful"]) == (200, True)


def test_a_scroll_is_paged_through_untouched(opensearch: OpenSearchNode, gateway: str) -> None:
    page = call(gateway, "POST", f"/{SHOP}/_search?scroll=1m", {"size": 100, "query": MATCH})
    assert page.csrm == "skipped; reason=scroll"
    seen = page.ids
    while hits := page.ids:
        page = call(
            gateway, "POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page.json["_scroll_id"]}
        )
        assert page.csrm == ""
        seen += page.ids
    assert not hits
    assert len(seen) == len(set(seen)) == 249
    freed = call(gateway, "DELETE", "/_search/scroll", {"scroll_id": page.json["_scroll_id"]})
    assert (freed.status, freed.json["succeeded"]) == (200, True)
