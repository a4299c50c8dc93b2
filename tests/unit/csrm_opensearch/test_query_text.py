"""The reader of the query DSL: what it reads, what it skips and why, and that no JSON makes it fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.query_text import Skip, shopper_text

CASE = {"match": {"title": "phone case"}}


@pytest.mark.parametrize(
    "query",
    [
        {"match": {"title": "phone case"}},
        {"match": {"title": {"query": "phone case", "operator": "and"}}},
        {"match_phrase": {"title": "phone case"}},
        {"match_phrase_prefix": {"title": {"query": "phone case"}}},
        {"match_bool_prefix": {"title": "phone case"}},
        {"multi_match": {"query": "phone case", "fields": ["title^3", "brand"]}},
        {"combined_fields": {"query": "phone case", "fields": ["title", "brand"]}},
        {"simple_query_string": {"query": "phone case"}},
        {"query_string": {"query": "phone case", "default_field": "title"}},
        {"neural": {"embedding": {"query_text": "phone case", "k": 50}}},
        {"hybrid": {"queries": [CASE, {"neural": {"embedding": {"query_text": "phone case"}}}]}},
        {"dis_max": {"queries": [CASE, {"match_phrase": {"title": " phone  case "}}]}},
        {"bool": {"must": CASE}},
        {"bool": {"must": [CASE], "should": [{"match_phrase": {"title": "phone case"}}]}},
        {"bool": {"must": [CASE], "must_not": [{"match": {"title": "used"}}]}},
        {
            "bool": {
                "must": [CASE],
                "filter": [{"match": {"category": "accessories"}}, {"term": {"brand": "acme"}}],
            }
        },
        {"bool": {"should": [{"bool": {"must": [CASE]}}], "filter": {"range": {"price": {"lt": 10}}}}},
        {
            "function_score": {
                "query": CASE,
                "functions": [{"filter": {"match": {"title": "new"}}, "weight": 2}],
            }
        },
        {"script_score": {"query": CASE, "script": {"source": "_score * doc['sales'].value"}}},
        {"boosting": {"positive": CASE, "negative": {"match": {"title": "used"}}, "negative_boost": 0.5}},
        {"constant_score": {"filter": CASE}},
        {"nested": {"path": "variants", "query": {"match": {"variants.title": "phone case"}}}},
        {"has_child": {"type": "offer", "query": CASE}},
    ],
)
def test_reads_the_shoppers_text(query: dict[str, Any]) -> None:
    assert shopper_text({"query": query}) == "phone case"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "no-query-text"),
        ([], "no-query-text"),
        ({}, "no-query-text"),
        ({"query": {"match_all": {}}}, "no-query-text"),
        ({"query": {"term": {"brand": "acme"}}}, "no-query-text"),
        ({"query": {"bool": {"filter": [CASE]}}}, "no-query-text"),
        ({"query": {"bool": {"must_not": [CASE]}}}, "no-query-text"),
        ({"query": {"match": {"year": 2024}}}, "no-query-text"),
        ({"rescore": {"query": {"rescore_query": CASE}}}, "no-query-text"),
        ({"query": {"match": {"title": ""}}}, "blank-query"),
        ({"query": {"match": {"title": " \t\u3000"}}}, "blank-query"),
        ({"query": {"match": {"title": "x" * 10_000}}}, "query-too-long"),
        ({"query": {"dis_max": {"queries": [CASE, {"match": {"title": "cover"}}]}}}, "ambiguous-query"),
        ({"query": {"query_string": {"query": "title:phone AND brand:acme"}}}, "query-syntax"),
        ({"query": {"query_string": {"query": "phone NOT case"}}}, "query-syntax"),
        ({"query": {"query_string": {"query": "phone -case"}}}, "query-syntax"),
        ({"query": {"query_string": {"query": "price:[1 TO 5]"}}}, "query-syntax"),
        ({"query": {"query_string": {"query": "pho*"}}}, "query-syntax"),
    ],
)
def test_skips_with_a_reason(body: object, reason: str) -> None:
    assert shopper_text(body) == Skip(reason)


@pytest.mark.parametrize(
    "text", ["wi-fi router", "usb-c 2m", "AC/DC shirt", '"phone case"', "c++ book", "16:9 tv?"]
)
def test_what_shoppers_type_is_not_taken_for_syntax(text: str) -> None:
    expected = Skip("query-syntax") if ":" in text else text
    assert shopper_text({}, q=text) == expected
    assert shopper_text({"query": {"simple_query_string": {"query": text}}}) == text


def test_the_q_parameter_stands_above_the_body() -> None:
    assert shopper_text({"query": {"match": {"title": "cover"}}}, q="phone case") == "phone case"
    assert shopper_text({"query": CASE}, q=" ") == Skip("blank-query")


def test_several_texts_are_told_apart_by_path_or_fields() -> None:
    body = {"query": {"bool": {"must": [CASE, {"match": {"category": "accessories"}}]}}}
    assert shopper_text(body) == Skip("ambiguous-query")
    assert shopper_text(body, query_fields=["title"]) == "phone case"
    assert shopper_text(body, query_fields=["brand"]) == Skip("no-query-text")
    assert shopper_text(body, query_path="/query/bool/must/1/match/category") == "accessories"
    assert shopper_text(body, query_path="/query/bool/must/7/match") == Skip("ambiguous-query")


def test_fields_are_matched_without_their_boost() -> None:
    queries = [{"multi_match": {"query": "phone case", "fields": ["title^3"]}}, {"match": {"tags": "sale"}}]
    assert shopper_text({"query": {"bool": {"should": queries}}}, query_fields=["title"]) == "phone case"


def test_a_very_deep_query_is_read() -> None:
    query: dict[str, Any] = CASE
    for _ in range(50_000):
        query = {"bool": {"must": [query]}}
    assert shopper_text({"query": query}) == "phone case"


KINDS = [
    "match",
    "multi_match",
    "bool",
    "must",
    "should",
    "query",
    "queries",
    "hybrid",
    "neural",
    "query_text",
    "title",
]
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KINDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(body=ANY_JSON, path=st.none() | st.text(max_size=20), fields=st.none() | st.lists(st.text(max_size=5)))
def test_any_json_is_read_or_skipped(body: Any, path: str | None, fields: list[str] | None) -> None:
    for value in (body, {"query": body}):
        text = shopper_text(value, query_path=path, query_fields=fields)
        assert isinstance(text, Skip) or (text == " ".join(text.split()) and 0 < len(text) <= 2_000)
