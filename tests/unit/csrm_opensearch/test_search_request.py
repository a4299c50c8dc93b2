"""Reading and widening a search: only what must change changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csrm_opensearch.errors import RequestOptionsError
from csrm_opensearch.profiles import Blend, FieldWeight, LocaleFromField, Profile
from csrm_opensearch.query_text import Skip
from csrm_opensearch.search_request import Asked, Params, Search, read_search

PROFILE = Profile(name="shop", indices=["shop-*"], text_fields=["title", "brand"])
CASE = {"match": {"title": "phone case"}}


def read(body: dict[str, Any] | bytes, query_string: bytes = b"", profile: Profile = PROFILE) -> Asked:
    return read_search(
        body if isinstance(body, bytes) else json.dumps(body).encode(), Params(query_string), profile
    )


def readable(body: dict[str, Any] | bytes, query_string: bytes = b"", profile: Profile = PROFILE) -> Search:
    search = read(body, query_string, profile).search
    assert isinstance(search, Search), search
    return search


def test_the_window_is_asked_for_with_the_products_text() -> None:
    search = readable({"query": CASE, "from": 20, "size": 5, "_source": ["id"]})
    assert (search.query, search.start, search.size, search.window) == ("phone case", 20, 5, 100)
    assert json.loads(search.window_body()) == {
        "query": CASE,
        "from": 0,
        "size": 100,
        "fields": ["title", "brand"],
        "_source": ["id"],
    }


def test_a_page_larger_than_the_window_is_asked_for_whole() -> None:
    assert json.loads(readable({"query": CASE, "from": 50, "size": 500}).window_body())["size"] == 550


def test_a_deep_page_asks_for_the_window_without_what_adorns_it() -> None:
    search = readable(
        {"query": CASE, "from": 100, "aggs": {"a": {}}, "highlight": {}, "post_filter": {"x": 1}}
    )
    assert search.deep
    body = json.loads(search.window_body())
    assert body == {
        "query": CASE,
        "from": 0,
        "size": 100,
        "fields": ["title", "brand"],
        "_source": False,
        "track_total_hits": False,
        "post_filter": {"x": 1},
    }
    assert json.loads(search.page_body(137, 10)) == {
        "query": CASE,
        "from": 137,
        "size": 10,
        "aggs": {"a": {}},
        "highlight": {},
        "post_filter": {"x": 1},
    }


def test_numbers_and_texts_of_the_query_stay_the_bytes_they_were() -> None:
    clause = (
        b'{"bool":{"must":[{"match":{"title":"\\u00e9tui"}}],'
        b'"filter":{"term":{"n":123456789012345678901.50}}}}'
    )
    assert clause in readable(b'{"query":' + clause + b"}").window_body()


def test_url_parameters_stand_above_the_body() -> None:
    search = readable({"query": CASE, "from": 1, "size": 2}, b"from=30&size=7")
    assert (search.start, search.size) == (30, 7)
    assert Params(b"from=30&size=7&q=a%20b&pretty").without("from", "size", "pretty") == "q=a%20b"


def test_a_search_all_in_the_url() -> None:
    search = readable(b"", b"q=phone+case&size=3")
    assert (search.query, search.size) == ("phone case", 3)
    assert json.loads(search.window_body()) == {"from": 0, "size": 100, "fields": ["title", "brand"]}


@pytest.mark.parametrize(
    ("fields", "added"),
    [
        (["price"], ("title", "brand")),
        (["title"], ("brand",)),
        ([{"field": "ti*"}], ("brand",)),
        (["*"], ()),
    ],
)
def test_fields_the_client_asked_for_are_not_added(fields: list[Any], added: tuple[str, ...]) -> None:
    search = readable({"query": CASE, "fields": fields})
    assert search.added == added
    assert json.loads(search.window_body())["fields"] == [*fields, *added]


def test_docvalues_of_a_text_field_serve_as_its_text() -> None:
    assert readable({"query": CASE, "docvalue_fields": [{"field": "brand"}]}).added == ("title",)
    assert readable({"query": CASE}, b"docvalue_fields=brand,price").added == ("title",)


def test_a_collapsed_hit_shows_its_field_already() -> None:
    collapse = {"field": "brand", "inner_hits": {"name": "more"}}
    search = readable({"query": CASE, "collapse": collapse})
    assert search.added == ("title",)
    assert json.loads(search.window_body())["collapse"] == collapse
    deep = readable({"query": CASE, "collapse": collapse, "from": 100})
    assert json.loads(deep.window_body())["collapse"] == {"field": "brand"}
    assert json.loads(deep.page_body(100, 10))["collapse"] == collapse


def test_further_windows_reach_as_far_as_the_profile_allows() -> None:
    profile = PROFILE.model_copy(update={"max_window": 300})
    assert not readable({"query": CASE, "from": 299}, profile=profile).deep
    assert readable({"query": CASE, "from": 300}, profile=profile).deep
    body = json.loads(readable({"query": CASE, "aggs": {}}, profile=profile).more_body(100, 50))
    assert body == {
        "query": CASE,
        "from": 100,
        "size": 50,
        "fields": ["title", "brand"],
        "track_total_hits": False,
    }


def test_the_field_of_a_blend_is_fetched_too() -> None:
    profile = PROFILE.model_copy(update={"blend": Blend(field=FieldWeight(name="sales", weight=1))})
    assert readable({"query": CASE}, profile=profile).added == ("title", "brand", "sales")


def test_a_locale_field_is_fetched_too() -> None:
    profile = PROFILE.model_copy(update={"locale": LocaleFromField(field="lang")})
    assert readable({"query": CASE}, profile=profile).added == ("title", "brand", "lang")


@pytest.mark.parametrize(
    ("extra", "query_string", "reason"),
    [
        ({"search_after": [1], "sort": ["price"]}, b"", "search-after"),
        ({"pit": {"id": "x"}}, b"", "pit"),
        ({"collapse": "brand"}, b"", "field-conflict"),
        ({"query": {"hybrid": {"queries": [CASE]}}, "size": 101}, b"", "hybrid-depth"),
        ({"slice": {"id": 0, "max": 2}}, b"", "slice"),
        ({"size": 0}, b"", "size-0"),
        ({"size": 5}, b"size=0", "size-0"),
        ({"from": -1}, b"", "from-size"),
        ({"size": "many"}, b"", "from-size"),
        ({"size": True}, b"", "from-size"),
        ({}, b"size=x", "from-size"),
        ({"size": None}, b"", "from-size"),
        ({"size": ""}, b"size=3", "from-size"),
        ({"from": {}}, b"from=1", "from-size"),
        ({}, b"scroll=1m", "scroll"),
        ({}, b"filter_path=hits", "filter-path"),
        ({}, b"source={}&source_content_type=application/json", "source"),
        ({}, b"format=yaml", "format"),
        ({"stored_fields": ["title"]}, b"", "field-conflict"),
        ({"script_fields": {"brand": {}}}, b"", "field-conflict"),
        ({"docvalue_fields": ["*"]}, b"", "field-conflict"),
        ({"fields": "title"}, b"", "field-conflict"),
        ({"fields": {}}, b"", "field-conflict"),
        ({"fields": None}, b"", "field-conflict"),
        ({"query": {"match_all": {}}}, b"", "no-query-text"),
        ({"ext": {"csrm": {"mode": "off"}}}, b"", "off"),
    ],
)
def test_what_is_left_alone(extra: dict[str, Any], query_string: bytes, reason: str) -> None:
    assert read({"query": CASE} | extra, query_string).search == Skip(reason)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"query": "\xff"}', b"[" * 100_000, b"NaN"]
)
def test_a_body_that_is_no_json_object_goes_on_as_it_is(body: bytes) -> None:
    asked = read(body)
    assert asked.body == body
    assert asked.search == Skip("body-not-json")


@pytest.mark.parametrize(
    ("sort", "by_relevance"),
    [
        (None, True),
        ([], True),
        ("_score", True),
        (["_score", {"price": "asc"}], True),
        ([{"_score": "desc"}], True),
        ([{"_score": {"order": "desc"}}], True),
        ([{"_score": "asc"}], False),
        ("price", False),
        ({"price": "asc"}, False),
        ([{"price": {"order": "asc"}}, "_score"], False),
        ([7], False),
    ],
)
def test_an_explicit_sort_is_the_clients_order(sort: object, by_relevance: bool) -> None:
    assert readable({"query": CASE} | ({} if sort is None else {"sort": sort})).by_relevance is by_relevance


def test_the_sort_parameter_counts() -> None:
    assert not readable({"query": CASE}, b"sort=price:asc").by_relevance
    assert readable({"query": CASE}, b"sort=_score:desc,price:asc").by_relevance


def test_hybrid_and_search_pipelines_cannot_be_cut_from_a_wider_search() -> None:
    assert readable({"query": CASE}).exact
    assert readable({"query": {"hybrid": {"pagination_depth": 200, "queries": [CASE]}}, "size": 101}).exact
    assert not readable({"query": {"hybrid": {"queries": [CASE]}}}).exact
    assert not readable({"query": CASE}, b"search_pipeline=p").exact


def test_options_are_taken_out_and_stand_above_the_profile() -> None:
    options = {"window": 7, "threshold": 0.25, "query": " red  case ", "locale": "ko", "explain": True}
    asked = read({"query": CASE, "ext": {"csrm": options, "ubi": {"query_id": "1"}}})
    assert json.loads(asked.body) == {"query": CASE, "ext": {"ubi": {"query_id": "1"}}}
    assert isinstance(asked.search, Search)
    assert (asked.search.window, asked.search.threshold, asked.search.query) == (7, 0.25, "red  case")
    assert b"csrm" not in asked.search.window_body()
    assert json.loads(read({"query": CASE, "ext": {"csrm": {}}}).body) == {"query": CASE}


def test_a_search_may_switch_the_gateway_on() -> None:
    off = PROFILE.model_copy(update={"mode": "off"})
    assert read({"query": CASE}, profile=off).search == Skip("off")
    assert readable({"query": CASE, "ext": {"csrm": {"mode": "on"}}}, profile=off).query == "phone case"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold": 1.5}, "ext.csrm.threshold"),
        ({"threshold": "0.5"}, "ext.csrm.threshold"),
        ({"window": 0}, "ext.csrm.window"),
        ({"window": 1001}, "ext.csrm.window"),
        ({"mode": "maybe"}, "ext.csrm.mode"),
        ({"query": " "}, "ext.csrm.query"),
        ({"locale": "korean!"}, "ext.csrm.locale"),
        ({"explain": "yes"}, "ext.csrm.explain"),
        ({"model": ""}, "ext.csrm.model"),
        ({"model": "m" * 201}, "ext.csrm.model"),
        ({"treshold": 0.5}, "ext.csrm.treshold"),
        ([], "ext.csrm"),
    ],
)
def test_wrong_options_are_named(options: object, field: str) -> None:
    with pytest.raises(RequestOptionsError, match=f"^{field}: "):
        read({"query": CASE, "ext": {"csrm": options}})
