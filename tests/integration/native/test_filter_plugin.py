"""The plugin csrm-filter in real nodes of each major: what is irrelevant goes, pages fit, failures cost nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from opensearchpy import OpenSearch, RequestError

from csrm_opensearch.testing import NodeError, OpenSearchNode, opensearch_node
from csrm_opensearch.testing.java import Jdk
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION
from tests.integration.native.conftest import (
    BEST,
    NEWEST,
    PRODUCTS,
    BuildPlugin,
    Door,
    ShowFault,
    hits,
    shop_on,
)
from tests.integration.native.serving import API_KEY, Serving

PIPELINE = "filtered"
FIELDS = ["brand", "title"]
HALF = {"0", "1", "2", "3"}
"""These have one of the two words; a query of three words makes them irrelevant."""
QUERY: dict[str, Any] = {
    "query": {"multi_match": {"query": "red phone case", "fields": ["title", "brand"]}},
}


class Shop:
    """An index on a node, searched through the pipeline and without it."""

    def __init__(self, node: OpenSearchNode, client: OpenSearch, index: str) -> None:
        self.node, self.client, self.index = node, client, index

    def put(self, *, window: int = 50, **options: Any) -> None:
        body = {
            "request_processors": [{"csrm_window": {"window": window, "fields": FIELDS}}],
            "response_processors": [{"csrm_filter": {"timeout_ms": 30_000} | options}],
        }
        self.client.search_pipeline.put(id=PIPELINE, body=body)

    def search(self, body: dict[str, Any], pipeline: str = PIPELINE, **params: str) -> dict[str, Any]:
        """The answer, with the header csrm-status as ``status`` in it."""
        params = {"search_pipeline": pipeline, **params}
        answer = httpx.post(f"{self.node.url}/{self.index}/_search", params=params, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return {**answer.json(), "status": answer.headers.get("csrm-status"), "took": 0}

    def own(self, body: dict[str, Any], **params: str) -> dict[str, Any]:
        return self.search(body, pipeline="_none", **params)


@pytest.fixture(scope="module", params=["plugin_node", "newest_node"])
def node(request: pytest.FixtureRequest) -> OpenSearchNode:
    found: OpenSearchNode = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def _index(node: OpenSearchNode) -> str:
    return shop_on(node)


@pytest.fixture
def shop(node: OpenSearchNode, _index: str, service: Serving) -> Iterator[Shop]:
    with OpenSearch(node.url, timeout=60) as client:
        shop = Shop(node, client, _index)
        shop.put()
        yield shop


def test_what_is_irrelevant_goes_and_the_rest_is_ordered(shop: Shop) -> None:
    answer = shop.search(QUERY)
    assert hits(answer)[0] == "4"
    assert set(hits(answer)) == BEST
    assert answer["status"] == "reranked; window=7; removed=4"
    assert set(hits(shop.own(QUERY))) == BEST | HALF
    assert answer["hits"]["total"] == shop.own(QUERY)["hits"]["total"]


@pytest.mark.parametrize("window", [1, 3, 5, 50])
@pytest.mark.parametrize("size", [1, 2, 10])
def test_pages_fit_together(shop: Shop, window: int, size: int) -> None:
    """All pages in a row are the kept of the window and then all that is beyond it, each once."""
    shop.put(window=window)
    pages = [
        hits(shop.search(QUERY | {"from": at, "size": size})) for at in range(0, len(PRODUCTS) + 1, size)
    ]
    found = [number for page in pages for number in page]
    lexical = hits(shop.own(QUERY))
    in_window = set(lexical[:window])
    kept = in_window - HALF or {in_window.pop()}  # of a window without a good one, one stays
    assert len(found) == len(set(found))
    assert set(found[: len(kept)]) == kept or len(kept) == 1
    assert found[len(kept) :] == lexical[window:]
    assert all(len(page) == size for page in pages[: len(found) // size])


@pytest.mark.parametrize(
    "body",
    [
        QUERY | {"size": 0, "aggs": {"dear": {"max": {"field": "price"}}}},
        QUERY | {"sort": ["price"]},
        QUERY | {"collapse": {"field": "brand.keyword"}},
        QUERY | {"from": 9_990},
        {"query": {"match_all": {}}},
        {"query": {"bool": {"should": [{"match": {"title": "phone"}}, {"match": {"brand": "case"}}]}}},
    ],
    ids=["no hits wanted", "sorted", "collapsed", "deep", "no text", "two texts"],
)
def test_searches_that_mean_something_else_are_left_alone(shop: Shop, body: dict[str, Any]) -> None:
    assert shop.search(body) == shop.own(body)


def test_a_scroll_is_left_alone(shop: Shop) -> None:
    answer = shop.search(QUERY | {"size": 2}, scroll="1m")
    assert hits(answer) == hits(shop.own(QUERY | {"size": 2}))
    shop.client.clear_scroll(body={"scroll_id": [answer["_scroll_id"]]})


def test_a_filter_is_not_what_the_shopper_typed(shop: Shop, service: Serving) -> None:
    typed = {"match": {"title": {"query": "red phone case", "operator": "or"}}}
    shop.search({"query": {"bool": {"must": typed, "filter": {"match": {"brand": "acme"}}}}})
    assert service.judged[-1]["query"] == "red phone case"
    assert service.judged[-1]["products"][0].startswith("Acme a very long name")


def test_the_rest_of_the_answer_is_the_clients(shop: Shop) -> None:
    extras = {
        "_source": False,
        "fields": ["brand"],
        "highlight": {"fields": {"title": {}}},
        "aggs": {"dear": {"max": {"field": "price"}}},
        "track_total_hits": False,
    }
    answer, own = shop.search(QUERY | extras), shop.own(QUERY | extras)
    assert {hit["_id"] for hit in answer["hits"]["hits"]} == BEST
    mine = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
    assert mine == {hit["_id"]: hit for hit in own["hits"]["hits"] if hit["_id"] in BEST}
    assert {name for name in answer if answer[name] != own[name]} == {"hits", "status"}


def test_many_searches_in_one_request(shop: Shop) -> None:
    body = QUERY | {"search_pipeline": PIPELINE}
    answers = shop.client.msearch(index=shop.index, body=[{"index": shop.index}, body] * 3)["responses"]
    assert [set(hits(answer)) for answer in answers] == [BEST] * 3


def test_a_late_answer_costs_the_budget_and_no_more(shop: Shop, service: Serving) -> None:
    shop.put(timeout_ms=200)
    service.model.seconds_each = 0.3  # 2.1 s in all
    started = time.monotonic()
    answer = shop.search(QUERY | {"size": 3})
    assert hits(answer) == hits(shop.own(QUERY | {"size": 3}))
    assert answer["status"] == "skipped; reason=deadline"
    assert time.monotonic() - started < 1.5


def test_the_key_of_the_keystore_is_sent(shop: Shop, service: Serving) -> None:
    service.key = API_KEY
    assert shop.search(QUERY)["status"].startswith("reranked")
    service.key = "another one"
    assert shop.search(QUERY)["status"] == "skipped; reason=relevance-401"


def test_the_key_is_shown_to_nobody(shop: Shop, service: Serving) -> None:
    service.key = "another one"  # also not where it was refused
    shop.search(QUERY)
    defaults = "/_cluster/settings?include_defaults=true&flat_settings=true"
    run = Path(psutil.Process(shop.node.pid).cmdline()[-1])  # with the log, the keystore and the data
    shown = [
        *(httpx.get(f"{shop.node.url}{path}").text for path in ("/_nodes", "/_nodes/settings", defaults)),
        *(file.read_bytes().decode("latin-1") for file in run.rglob("*") if file.is_file()),
    ]
    assert "gives no judgments, searches stay as they are" in "".join(shown)
    assert not [text for text in shown if API_KEY in text]


def test_a_kept_connection_that_the_service_closes_costs_no_search(shop: Shop, door: Door) -> None:
    for _ in range(3):
        assert shop.search(QUERY)["status"].startswith("reranked")
        door.show_again()


@pytest.mark.parametrize("fault", ["authority", "name", "date"])
def test_a_service_that_is_another_one_gets_neither_texts_nor_key(
    shop: Shop, service: Serving, door: Door, show_fault: ShowFault, fault: str
) -> None:
    show_fault(fault)
    assert shop.search(QUERY)["status"] == "skipped; reason=relevance-untrusted"
    assert service.judged == []
    door.show_again()
    assert shop.search(QUERY)["status"].startswith("reranked")


@pytest.mark.parametrize("processor", [{"csrm_window": {"fields": FIELDS, "window": 0}}, {"csrm_window": {}}])
def test_a_wrong_pipeline_is_refused(shop: Shop, processor: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"window|fields"):
        shop.client.search_pipeline.put(id="wrong", body={"request_processors": [processor]})


def test_a_service_that_fails_is_left_in_peace(shop: Shop, service: Serving) -> None:
    """After five failures in a row it is not asked for five seconds."""
    service.model.seconds_each = 0.05
    shop.put(timeout_ms=1)
    said = [shop.search(QUERY)["status"] for _ in range(7)]
    assert said[0] == "skipped; reason=deadline"
    assert said[-1] == "skipped; reason=breaker-open"
    service.model.seconds_each = 0.0
    shop.put()
    time.sleep(5.1)
    assert shop.search(QUERY)["status"].startswith("reranked")


def test_searches_that_are_refused_do_not_switch_the_service_off(shop: Shop) -> None:
    """Anybody can type a text that is too long for the service."""
    long = {"query": {"match": {"title": "phone " * 400}}}
    assert [shop.search(long)["status"] for _ in range(6)] == ["skipped; reason=relevance-422"] * 6
    assert shop.search(QUERY)["status"].startswith("reranked")


@pytest.mark.parametrize(
    ("version", "url", "key", "said"),
    [
        (OPENSEARCH_VERSION, "ftp://relevance.example", "", "csrm.relevance.url: write it like https://"),
        (
            OPENSEARCH_VERSION,
            "https://me:secret@relevance.example",
            "",
            "csrm.relevance.url: no password here",
        ),
        (NEWEST, "https://relevance.example", "sécret", "csrm.relevance.key: only letters of ASCII"),
    ],
)
def test_a_node_with_wrong_settings_says_so_and_does_not_start(
    filter_plugin: BuildPlugin, jdk: Jdk, version: str, url: str, key: str, said: str
) -> None:
    with (
        pytest.raises(NodeError, match=said) as raised,
        opensearch_node(
            version=version,
            kind="local",
            plugin_zips=[filter_plugin(version)],
            settings={"csrm.relevance.url": url},
            secrets={"csrm.relevance.key": key} if key else None,
        ),
    ):
        pass
    assert not re.search("s[eé]cret", str(raised.value))
