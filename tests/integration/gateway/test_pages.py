"""The reranked page on a real node: right hits, right totals, nothing else touched; and the page where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, SMALL, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.word_service import WordService, judged

QUERY = {"match": {"title": "phone case"}}
CASE: dict[str, Any] = {"query": QUERY}
BY_SKU: dict[str, Any] = {"query": {"match": {"sku": "phone case"}}}


def search(url: str, body: Any, query_string: str = "", index: str = SHOP) -> Answer:
    answer = call(url, "POST", f"/{index}/_search{query_string}", body)
    assert answer.status == 200, answer.body
    return answer


def expected(opensearch: OpenSearchNode, body: dict[str, Any], window: int = 100) -> list[str]:
    """The whole list by the rules, from OpenSearch's own list and the service's own judgments."""
    hits = search(opensearch.url, {**body, "size": 1_000}).json["hits"]["hits"]
    texts = [
        " ".join(filter(None, [h["_source"].get("brand"), h["_source"].get("title")])) for h in hits[:window]
    ]
    results = judged({"products": texts})["results"]
    kept = [
        n
        for n, (text, judgment) in enumerate(zip(texts, results, strict=True))
        if not text or judgment["decision"] == "keep"
    ]
    best = iter(sorted((n for n in kept if texts[n]), key=lambda n: (-results[n]["score"], n)))
    order = [next(best) if texts[n] else n for n in kept]
    return [hits[n]["_id"] for n in order] + [hit["_id"] for hit in hits[window:]]


def test_junk_goes_and_the_best_come_first(opensearch: OpenSearchNode, gateway: str) -> None:
    answer = search(gateway, CASE)
    whole = expected(opensearch, CASE)
    own = search(opensearch.url, CASE).json
    assert answer.ids == whole[:10]
    assert answer.ids != search(opensearch.url, CASE).ids
    assert answer.json["hits"]["total"] == {"value": len(whole), "relation": "eq"}
    assert own["hits"]["total"]["value"] - len(whole) == 100 - len(
        whole[: -(own["hits"]["total"]["value"] - 100)]
    )
    assert answer.csrm.startswith(
        f"reranked; window=100; removed={own['hits']['total']['value'] - len(whole)}; took="
    )
    direct = {h["_id"]: h for h in search(opensearch.url, {**CASE, "size": 250}).json["hits"]["hits"]}
    assert answer.json["hits"]["hits"] == [direct[i] for i in answer.ids], "the hits themselves are untouched"


def test_what_there_was_no_time_for_stays_where_it_was(
    opensearch: OpenSearchNode, gateway: str, service: WordService
) -> None:
    body = {"query": {"match": {"title": "phone case in a hurry"}}}
    own = search(opensearch.url, {**body, "size": 100}).ids
    service.how = "hurries"
    pages = [search(gateway, {**body, "from": start, "size": 25}) for start in (0, 25, 50)]
    asked = service.asked[-1]
    assert (asked["partial"], len(asked["products"])) == (True, len(set(asked["products"])))
    assert all(page.csrm.startswith("reranked; window=100;") for page in pages)
    scored = {int(page.csrm.rpartition("scored=")[2].removesuffix("/100")) for page in pages}
    assert len(scored) == 1 and 40 < scored.pop() < 60
    shown = [hit for page in pages for hit in page.ids]
    assert len(shown) == len(set(shown)) == 75
    places = [own.index(hit) for hit in shown if hit in own[-20:]]
    assert places == sorted(places), "who was not judged is not moved among those"
    assert len(service.asked) == 1, "the later pages follow the first"


@pytest.mark.parametrize("size", [7, 10, 33, 100, 130])
def test_pages_continue_each_other(opensearch: OpenSearchNode, gateway: str, size: int) -> None:
    whole = expected(opensearch, CASE)
    answers = [search(gateway, {**CASE, "from": start, "size": size}) for start in range(0, 300, size)]
    assert [i for answer in answers for i in answer.ids] == whole
    assert {json.dumps(answer.json["hits"]["total"]) for answer in answers} == {
        json.dumps({"value": len(whole), "relation": "eq"})
    }


def test_single_products_around_the_seam(opensearch: OpenSearchNode, gateway: str) -> None:
    """Where the survivors of the window end, and where the window ends."""
    whole = expected(opensearch, CASE)
    for start in (0, *range(64, 69), *range(98, 103), 216, 217):
        assert search(gateway, {**CASE, "from": start, "size": 1}).ids == whole[start : start + 1]


def test_products_without_text_stay_in_their_place(
    opensearch: OpenSearchNode, gateway: str, service: WordService
) -> None:
    whole = expected(opensearch, BY_SKU)
    assert "7" in whole
    assert search(gateway, {**BY_SKU, "size": 250}).ids == whole
    assert all(product.strip() for asked in service.asked for product in asked["products"])


VARIANTS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"size": 3, "from": 2}, ""),
    ({"from": 95, "size": 20}, ""),
    ({"from": 99, "size": 1}, ""),
    ({"from": 90, "size": 300}, ""),
    ({"_source": False}, ""),
    ({"_source": ["price"]}, ""),
    ({}, "?_source=title&size=4"),
    ({"fields": ["price", "title"]}, ""),
    ({"fields": ["*"]}, ""),
    ({"fields": ["variants.size"], "_source": False}, ""),
    ({"docvalue_fields": ["price", "brand"]}, ""),
    ({"stored_fields": ["price"]}, ""),
    ({"script_fields": {"twice": {"script": "doc['price'].size() == 0 ? 0 : doc['price'].value * 2"}}}, ""),
    ({"highlight": {"fields": {"title": {}}}}, ""),
    ({"explain": True, "size": 2}, ""),
    ({"version": True, "seq_no_primary_term": True}, ""),
    ({"aggs": {"brands": {"terms": {"field": "brand"}}}}, ""),
    ({"aggs": {"brands": {"terms": {"field": "brand"}}}}, "?typed_keys=true"),
    ({"suggest": {"s": {"text": "phine", "term": {"field": "title"}}}}, ""),
    ({"track_total_hits": False}, ""),
    ({"track_total_hits": 5}, ""),
    ({}, "?rest_total_hits_as_int=true"),
    ({"track_total_hits": False}, "?rest_total_hits_as_int=true&track_total_hits=false"),
    ({"terminate_after": 400}, ""),
    ({"timeout": "10s"}, ""),
    ({"min_score": 0.001}, ""),
    ({"post_filter": {"term": {"brand": "Acme"}}}, ""),
    ({"rescore": {"window_size": 20, "query": {"rescore_query": {"match": {"title": "7"}}}}}, ""),
    ({"sort": [{"price": "asc"}]}, ""),
    ({"sort": [{"price": "asc"}], "track_scores": True}, ""),
    ({"sort": ["_score", {"price": "desc"}]}, ""),
    ({"from": 40, "size": 5}, "?from=10"),
    ({"indices_boost": [{SHOP: 2.0}]}, ""),
]


@pytest.mark.parametrize(("more", "query_string"), VARIANTS)
def test_a_failing_service_leaves_opensearchs_own_page(
    opensearch: OpenSearchNode, gateway: str, service: WordService, more: dict[str, Any], query_string: str
) -> None:
    service.how = "down"
    ours, theirs = (search(url, CASE | more, query_string) for url in (gateway, opensearch.url))
    assert ours.csrm == "skipped; reason=relevance-down"
    assert ours.lasting == theirs.lasting


@pytest.fixture(scope="module")
def well(opensearch: OpenSearchNode, shop: str, _service: WordService) -> Iterator[str]:
    """A gateway for tests that nothing of what others asked can matter to."""
    with running_gateway(settings(opensearch.url, _service.url)) as url:
        yield url


@pytest.mark.parametrize(("more", "query_string"), VARIANTS)
def test_every_option_of_a_search_works_on_a_reranked_page(
    opensearch: OpenSearchNode, well: str, service: WordService, more: dict[str, Any], query_string: str
) -> None:
    ours, theirs = (search(url, CASE | more, query_string) for url in (well, opensearch.url))
    assert ours.csrm.startswith("reranked; window=100; removed=3"), ours.csrm
    own = {
        hit["_id"]: hit
        for hit in search(
            opensearch.url,
            CASE | more | {"from": 0, "size": 250},
            query_string.replace("size=4", "").replace("from=10", ""),
        ).json["hits"]["hits"]
    }
    assert [own[hit["_id"]] for hit in ours.json["hits"]["hits"]] == ours.json["hits"]["hits"]
    for member in ("aggregations", "suggest", "_shards", "timed_out"):
        assert ours.json.get(member) == theirs.json.get(member)
    assert set(ours.json) == set(theirs.json)
    assert set(ours.json["hits"]) == set(theirs.json["hits"])


def test_collapsed_hits_are_judged_and_keep_their_inner_hits(
    opensearch: OpenSearchNode, gateway: str, service: WordService
) -> None:
    """One hit a price of ten; the group's first hit stands for it."""
    collapse = {"field": "tens", "inner_hits": {"name": "others", "size": 2, "_source": ["title"]}}
    body = {**CASE, "collapse": collapse, "size": 250}
    own = {hit["_id"]: hit for hit in search(opensearch.url, body).json["hits"]["hits"]}
    answer = search(gateway, body)
    assert answer.csrm.startswith(f"reranked; window={len(own)}; removed=")
    kept = answer.json["hits"]["hits"]
    assert 0 < len(kept) < len(own)
    assert all(hit == own[hit["_id"]] for hit in kept)
    assert {i for i in own if "junk" not in own[i]["_source"].get("title", "")} == {h["_id"] for h in kept}
    pages = [i for start in range(0, 30, 4) for i in search(gateway, {**body, "from": start, "size": 4}).ids]
    assert pages == [hit["_id"] for hit in kept]


def test_further_windows_fill_up_what_went(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    body = {"query": {"match": {"title": "phone case"}}, "sort": [{"junk": "desc"}, "price"]}
    assert (
        "junk"
        in search(opensearch.url, {**body, "from": 82, "size": 1}).json["hits"]["hits"][0]["_source"]["title"]
    )
    told = {"window": 30, "max_window": 150, "enough": 20}
    with running_gateway(settings(opensearch.url, service.url, **told)) as url:
        first = search(url, body)
        assert first.csrm.startswith("reranked; window=120; removed=84"), first.csrm
        assert len(first.ids) == 10
        own = search(opensearch.url, {**body, "size": 250}).json["hits"]["hits"]
        whole = [h["_id"] for n, h in enumerate(own) if n >= 120 or "junk" not in h["_source"]["title"]]
        turned = [
            i for start in range(0, 200, 20) for i in search(url, {**body, "from": start, "size": 20}).ids
        ]
        assert turned == whole


def test_a_blend_lets_a_field_count(opensearch: OpenSearchNode, shop: str, service: WordService) -> None:
    blend = {"relevance": 0.001, "field": {"name": "price", "weight": 1}}
    with running_gateway(settings(opensearch.url, service.url, blend=blend)) as url:
        answer = search(url, {**CASE, "size": 60})
        prices = [hit["_source"]["price"] for hit in answer.json["hits"]["hits"]]
        assert prices == sorted(prices, reverse=True)
        assert all("fields" not in hit for hit in answer.json["hits"]["hits"])


def test_a_client_sort_is_kept_and_only_filtered(opensearch: OpenSearchNode, gateway: str) -> None:
    body = {**CASE, "sort": [{"price": "desc"}], "size": 250}
    own = search(opensearch.url, body).json["hits"]["hits"]
    assert search(gateway, body).ids == [
        hit["_id"] for n, hit in enumerate(own) if n >= 100 or "junk" not in hit["_source"]["title"]
    ]


def test_totals_that_are_not_exact_keep_their_relation(opensearch: OpenSearchNode, gateway: str) -> None:
    own = search(opensearch.url, {**CASE, "track_total_hits": 5}).json["hits"]["total"]
    assert own["relation"] == "gte"
    assert search(gateway, {**CASE, "track_total_hits": 5}).json["hits"]["total"] == own
    assert "total" not in search(gateway, {**CASE, "track_total_hits": False}).json["hits"]
    assert search(gateway, CASE, "?rest_total_hits_as_int=true").json["hits"]["total"] == len(
        expected(opensearch, CASE)
    )


def test_max_score_is_that_of_what_is_left(opensearch: OpenSearchNode, gateway: str) -> None:
    left = set(expected(opensearch, CASE)[:60])
    own = search(opensearch.url, {**CASE, "size": 100}).json["hits"]["hits"]
    best = max(hit["_score"] for hit in own if hit["_id"] in left)
    for start in (0, 55, 100, 180):
        assert search(gateway, {**CASE, "from": start}).json["hits"]["max_score"] == best


def test_past_the_end(opensearch: OpenSearchNode, gateway: str, service: WordService) -> None:
    assert search(gateway, {**CASE, "from": 900}).ids == []
    few = {"query": {"match": {"title": {"query": "good 11", "operator": "and"}}}}
    total = search(gateway, few).json["hits"]["total"]
    past = search(gateway, {**few, "from": 90})
    assert (past.ids, past.json["hits"]["total"]) == ([], total)
    service.how = "down"
    other = {"query": {"match": {"title": {"query": "good 13", "operator": "and"}}}, "from": 90}
    assert search(gateway, other).lasting == search(opensearch.url, other).lasting


def test_pretty(gateway: str) -> None:
    answer = search(gateway, CASE, "?pretty")
    assert answer.body.startswith(b'{\n  "took" : ')
    assert answer.ids == search(gateway, CASE).ids


def test_an_index_that_cannot_give_the_window_gives_its_own_page(
    opensearch: OpenSearchNode, gateway: str
) -> None:
    ours, theirs = (search(url, CASE, index=SMALL) for url in (gateway, opensearch.url))
    assert ours.csrm == "skipped; reason=window-rejected"
    assert ours.lasting == theirs.lasting


def test_failed_shards_give_opensearchs_own_page(opensearch: OpenSearchNode, gateway: str) -> None:
    ours, theirs = (search(url, CASE, index=f"{SHOP}*") for url in (gateway, opensearch.url))
    assert ours.csrm == "skipped; reason=shards-failed"
    assert ours.lasting == theirs.lasting


def test_a_search_all_in_the_url(gateway: str) -> None:
    answer = call(gateway, "GET", f"/{SHOP}/_search?q=phone%20case&df=title&size=4")
    assert answer.csrm.startswith("reranked")
    assert len(answer.ids) == 4


def test_options_of_a_search(gateway: str, service: WordService) -> None:
    options = {"window": 20, "threshold": 0.95, "query": "cover", "locale": "ko"}
    answer = search(gateway, {**CASE, "ext": {"csrm": options}})
    assert answer.csrm.startswith("reranked; window=20; removed=0")
    asked = service.asked[-1]
    assert (asked["query"], asked["locale"], asked["threshold"], len(asked["products"])) == (
        "cover",
        "ko",
        0.95,
        20,
    )
    off = search(gateway, {**CASE, "ext": {"csrm": {"mode": "off"}}})
    assert (off.csrm, off.ids) == (
        "skipped; reason=off",
        search(gateway, {**CASE, "ext": {"csrm": {"mode": "off"}}}).ids,
    )


def test_wrong_options_are_named(gateway: str) -> None:
    answer = call(gateway, "POST", f"/{SHOP}/_search", {**CASE, "ext": {"csrm": {"threshold": 2}}})
    assert answer.status == 400
    assert answer.json["error"]["reason"].startswith("ext.csrm.threshold: ")
    assert answer.json["error"]["type"] == "csrm_request_exception"


def test_explain_lists_what_went_and_why(gateway: str) -> None:
    answer = search(gateway, {**CASE, "size": 5, "ext": {"csrm": {"explain": True}}})
    body = answer.json
    assert all(
        set(hit["_csrm"])
        == {"lexical_rank", "text", "grades", "score", "irrelevance", "decision", "knowledge"}
        for hit in body["hits"]["hits"]
    )
    assert all("junk" in product["text"] for product in body["csrm"]["removed"])
    assert body["csrm"]["knowledge"][0]["text"] == "case = cover"
    assert (body["csrm"]["model"], body["csrm"]["query"], body["csrm"]["locale"]) == (
        "words@1",
        "phone case",
        "en",
    )
    assert b"csrm" not in search(gateway, CASE).body


@pytest.fixture
def hiding(opensearch: OpenSearchNode, shop: str, service: WordService) -> Iterator[str]:
    with running_gateway(settings(opensearch.url, service.url, tail="hide", window=60)) as url:
        yield url


def test_a_hidden_tail_ends_the_list(opensearch: OpenSearchNode, hiding: str) -> None:
    whole = expected(opensearch, CASE, window=60)[: -(250 - 60 - 1)]
    for start in (0, 30, 60, 200):
        answer = search(hiding, {**CASE, "from": start, "size": 50})
        assert answer.ids == whole[start : start + 50]
        assert answer.json["hits"]["total"] == {"value": len(whole), "relation": "eq"}


def test_locale_by_index_through_an_alias(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    alias = f"{SHOP}-alias"
    call(opensearch.url, "PUT", f"/{SHOP}/_alias/{alias}")
    with running_gateway(settings(opensearch.url, service.url, locale={"by_index": {SHOP: "ja"}})) as url:
        search(url, CASE, index=alias)
        assert service.asked[-1]["locale"] == "ja"
    call(opensearch.url, "DELETE", f"/{SHOP}/_alias/{alias}")


def test_nested_and_multi_fields_are_read(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    names = ["title", "title.english", "variants.size"]
    with running_gateway(settings(opensearch.url, service.url, text_fields=names)) as url:
        answer = search(url, {**CASE, "size": 100})
        assert answer.csrm.startswith("reranked")
        own = {h["_id"]: h for h in search(opensearch.url, {**CASE, "size": 250}).json["hits"]["hits"]}
        assert answer.json["hits"]["hits"] == [own[i] for i in answer.ids]
        asked = {**CASE, "fields": ["variants.size", "price"]}
        own = {h["_id"]: h for h in search(opensearch.url, {**asked, "size": 250}).json["hits"]["hits"]}
        again = search(url, asked)
        assert again.json["hits"]["hits"] == [own[i] for i in again.ids]
    text = service.asked[0]["products"][0]
    twice = text.removesuffix(" S M")
    assert twice != text
    assert twice[: len(twice) // 2] == twice[len(twice) // 2 + 1 :], "the title and its multi-field"


@pytest.mark.parametrize(("min_keep", "left"), [(0, 0), (1, 1), (4, 4)])
def test_a_page_is_emptied_only_where_the_profile_allows_it(
    opensearch: OpenSearchNode, shop: str, service: WordService, min_keep: int, left: int
) -> None:
    body = {"query": {"match": {"title": "junk"}}, "size": 50}
    told = {"min_keep": min_keep, "tail": "hide"}
    with running_gateway(settings(opensearch.url, service.url, **told)) as url:
        answer = search(url, body)
        assert len(answer.ids) == left
        assert answer.json["hits"]["total"] == {"value": left, "relation": "eq"}
        assert set(answer.ids) == set(search(opensearch.url, body).ids[:left])


def test_a_search_that_ran_out_of_time_is_said_to_have(opensearch: OpenSearchNode, gateway: str) -> None:
    """What OpenSearch found until then is judged like any other window."""
    slow = {"script": {"script": "int n = 0; for (int i = 0; i < 900000; ++i) { n += i % 7; } return n >= 0"}}
    query = {"bool": {"must": [QUERY], "filter": [slow]}}
    answer = search(gateway, {"query": query, "timeout": "1ms"})
    assert answer.json["timed_out"] is True
    assert answer.csrm.startswith(("reranked", "skipped; reason=no-hits"))


def test_a_search_that_stops_early_says_so(opensearch: OpenSearchNode, gateway: str) -> None:
    body = {**CASE, "terminate_after": 60, "size": 100}
    ours, theirs = (search(url, body) for url in (gateway, opensearch.url))
    assert ours.json["terminated_early"] is theirs.json["terminated_early"] is True
    assert set(ours.ids) == {
        hit["_id"] for hit in theirs.json["hits"]["hits"] if "junk" not in hit["_source"].get("title", "")
    }


def test_hits_beyond_what_an_index_lets_be_paged_end_the_list(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    """The index gives 50 hits: pages are those without the junk, and what OpenSearch refuses is refused."""
    with running_gateway(settings(opensearch.url, service.url, window=30)) as url:
        turned = [
            i for n in range(0, 50, 5) for i in search(url, {**CASE, "from": n, "size": 5}, index=SMALL).ids
        ]
        own = search(opensearch.url, {**CASE, "size": 50}, index=SMALL).json["hits"]["hits"]
        junk = {h["_id"] for h in own[:30] if "junk" in h["_source"].get("title", "")}
        assert len(turned) == len(set(turned))
        assert set(turned) == {hit["_id"] for hit in own} - junk
    for tail in ("show", "hide"):
        with running_gateway(settings(opensearch.url, service.url, window=30, tail=tail)) as url:
            past = {**CASE, "from": 50}
            ours, theirs = (call(one, "POST", f"/{SMALL}/_search", past) for one in (url, opensearch.url))
            assert (ours.status, ours.body) == (theirs.status, theirs.body) and ours.status == 400
