"""What the native road does and does not do, measured: the table in plugin/README.md says no more than this."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.native.install import install, uninstall
from csrm_opensearch.native.road import Road
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.native.conftest import BEST, PRODUCTS, SEARCH, hits
from tests.integration.native.serving import Serving

ALL = {str(number) for number in range(len(PRODUCTS))}


@pytest.fixture(scope="module")
def roads(plugin_node: OpenSearchNode, _shop: str, _service: Serving) -> Iterator[dict[str, Road]]:
    """Both ways to write the pipeline, installed side by side; these tests change neither."""
    name = f"csrm-limits-{uuid4().hex[:8]}"
    drop_in = Road(
        name=f"{name}-drop-in",
        url=f"{_service.url}/v2/rerank",
        indices=(_shop,),
        text_fields=("brand", "title"),
        window=50,
        budget_ms=2_000,
        query=("query", "multi_match", "query"),
    )
    both = {"drop-in": drop_in, "rerank": replace(drop_in, name=f"{name}-rerank", query=None)}
    with OpenSearch(plugin_node.url, timeout=60) as client:
        for road in both.values():
            install(client, road, change_settings=True)
        yield both
        for road in both.values():
            uninstall(client, road.name)


@pytest.fixture(params=["drop-in", "rerank"])
def piped(roads: dict[str, Road], service: Serving, request: pytest.FixtureRequest) -> Road:
    return roads[request.param]


def body_of(road: Road, **body: Any) -> dict[str, Any]:
    """A search body; with the shopper's text beside it where the road wants that."""
    ext = {} if road.drop_in else {"ext": {"rerank": {"query_context": {"query_text": "phone case"}}}}
    return SEARCH | ext | body


def search(client: OpenSearch, road: Road, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.search(
        index=road.indices[0], body=body_of(road, **body), params={"search_pipeline": road.name}
    )
    return answer


def lexical(client: OpenSearch, road: Road, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.search(
        index=road.indices[0], body=SEARCH | body, params={"search_pipeline": "_none"}
    )
    return answer


def test_it_orders_and_removes_nothing(client: OpenSearch, piped: Road) -> None:
    answer = search(client, piped)
    assert set(hits(answer)) == ALL
    assert set(hits(answer)[:3]) == BEST
    assert answer["hits"]["total"] == {"value": len(ALL), "relation": "eq"}


def test_the_nearest_to_removing_is_a_page_that_the_bad_ones_fall_off(
    client: OpenSearch, piped: Road
) -> None:
    """As long as the window has enough good ones; the total and the next pages still have the rest."""
    answer = search(client, piped, size=3)
    assert set(hits(answer)) == BEST
    assert answer["hits"]["total"]["value"] == len(ALL)
    assert not BEST & set(hits(lexical(client, piped, size=3)))


def test_pages_overlap(client: OpenSearch, piped: Road) -> None:
    """Page 1 is the best of the window, page 2 the lexical places 4 to 6 in their new order."""
    first, second = (set(hits(search(client, piped, size=3, **{"from": at}))) for at in (0, 3))
    assert first == BEST
    assert second == set(hits(lexical(client, piped, size=3, **{"from": 3})))
    assert first & second


def test_pages_of_a_window_that_is_no_larger_than_they_are_fit_together(
    client: OpenSearch, road: Road
) -> None:
    install(client, replace(road, window=1), change_settings=True)
    pages = [hits(search(client, road, size=3, **{"from": at})) for at in (0, 3, 6)]
    assert sorted(number for page in pages for number in page) == sorted(ALL)


def test_scrolling_loses_what_the_window_fetched(client: OpenSearch, piped: Road) -> None:
    params = {"scroll": "1m", "search_pipeline": piped.name}
    answer = client.search(index=piped.indices[0], body=body_of(piped, size=2), params=params)
    found = hits(answer)
    while page := hits(answer := client.scroll(body={"scroll_id": answer["_scroll_id"], "scroll": "1m"})):
        found += page
    client.clear_scroll(body={"scroll_id": [answer["_scroll_id"]]})
    assert len(found) < len(ALL)


def test_a_search_without_hits_wanted(client: OpenSearch, piped: Road) -> None:
    answer = search(client, piped, size=0, aggs={"dear": {"max": {"field": "price"}}})
    assert (answer["hits"]["hits"], answer["aggregations"]["dear"]["value"]) == ([], 9)
    assert hits(search(client, piped, **{"from": 500})) == []


def test_a_total_that_is_not_wanted(client: OpenSearch, piped: Road) -> None:
    """The processors need one, so the client gets a lower bound that it did not ask for."""
    answer = search(client, piped, track_total_hits=False)
    assert set(hits(answer)[:3]) == BEST
    assert answer["hits"]["total"] == {"value": 1, "relation": "gte"}


@pytest.mark.parametrize("source", [False, ["price"]])
def test_fields_that_the_client_leaves_out_cannot_be_judged(
    client: OpenSearch, piped: Road, source: object
) -> None:
    answer = search(client, piped, _source=source)
    assert hits(answer) == hits(lexical(client, piped))


def test_a_sort_of_the_clients_is_lost(client: OpenSearch, piped: Road) -> None:
    found = search(client, piped, sort=[{"price": "asc"}])
    assert hits(lexical(client, piped, sort=[{"price": "asc"}])) == ["0", "1", "2", "3", "6", "5", "4"]
    assert set(hits(found)[:3]) == BEST


def test_what_else_of_an_answer_stays_and_what_does_not(client: OpenSearch, piped: Road) -> None:
    extras = {"highlight": {"fields": {"title": {}}}, "aggs": {"dear": {"max": {"field": "price"}}}}
    before, after = lexical(client, piped, **extras), search(client, piped, **extras)
    assert after["aggregations"] == before["aggregations"]
    assert {hit["_id"]: hit["highlight"] for hit in after["hits"]["hits"]} == {
        hit["_id"]: hit["highlight"] for hit in before["hits"]["hits"]
    }
    assert {hit["_id"]: hit["_source"] for hit in after["hits"]["hits"]} == {
        hit["_id"]: hit["_source"] for hit in before["hits"]["hits"]
    }
    # The lexical score is gone, and an empty profile is there.
    assert after["hits"]["max_score"] == 1.0 != before["hits"]["max_score"]
    assert after["profile"] == {"shards": []}
    assert "profile" not in before


def test_a_search_whose_text_is_not_where_it_should_be_is_left_as_it_is(
    client: OpenSearch, piped: Road
) -> None:
    other = {"query": {"match": {"title": "phone case"}}, "size": 3}
    answers = [
        client.search(index=piped.indices[0], body=other, params={"search_pipeline": name})
        for name in (piped.name, "_none")
    ]
    assert hits(answers[0]) == hits(answers[1])


def test_many_searches_in_one_request(client: OpenSearch, piped: Road) -> None:
    """The pipeline stands in each body, as the header of a line does not know it."""
    body = body_of(piped, search_pipeline=piped.name)
    answers = client.msearch(index=piped.indices[0], body=[{}, body, {}, body | {"size": 3}])["responses"]
    assert [set(hits(answer)[:3]) for answer in answers] == [BEST, BEST]


@pytest.mark.parametrize("drop_in", [True, False])
def test_a_service_that_is_down_costs_the_order_only(client: OpenSearch, road: Road, drop_in: bool) -> None:
    nobody = replace(road, url="http://127.0.0.1:9/v2/rerank", query=road.query if drop_in else None)
    install(client, nobody, change_settings=True)
    assert hits(search(client, nobody, size=3)) == hits(lexical(client, nobody, size=3))


@pytest.mark.parametrize("drop_in", [True, False])
def test_a_service_that_is_slow_gives_up_at_the_millisecond(
    client: OpenSearch, road: Road, service: Serving, drop_in: bool
) -> None:
    """The connector would wait 2 s and get an order after 1.4; the search that was given up holds no queue."""
    budgeted = replace(road, budget_ms=1_050, query=road.query if drop_in else None)
    assert budgeted.timeout_s == 2
    install(client, budgeted, change_settings=True)
    service.model.seconds_each = 0.2  # 7 products
    assert hits(search(client, budgeted, size=3)) == hits(lexical(client, budgeted, size=3))
    assert service.asked[-1]["deadline_ms"] == 1_050


@pytest.mark.parametrize("drop_in", [True, False])
def test_a_service_that_hangs_costs_every_search_whole_seconds(
    client: OpenSearch, road: Road, service: Serving, drop_in: bool
) -> None:
    """A budget of 300 ms became 1 s, and there is no breaker: the second search waits as long as the first."""
    stuck = replace(road, budget_ms=300, query=road.query if drop_in else None)
    assert stuck.timeout_s == 1
    install(client, stuck, change_settings=True)
    service.model.seconds_each = 2.5  # it looks at its deadline after each
    for _ in range(2):
        started = time.monotonic()
        assert hits(search(client, stuck, size=3)) == hits(lexical(client, stuck, size=3))
        assert time.monotonic() - started > 0.9


def test_the_rerank_processor_glues_fields_together(
    client: OpenSearch, piped: Road, service: Serving
) -> None:
    search(client, piped)
    glued = any(document.startswith("Acmea very long") for document in service.asked[-1]["documents"])
    assert glued is not piped.drop_in
