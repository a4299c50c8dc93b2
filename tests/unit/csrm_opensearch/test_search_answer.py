"""OpenSearch's answer: bytes stay bytes, and totals follow what was removed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from csrm_opensearch.search_answer import SearchAnswer, exactly, fewer, highest_score, pretty, read_answer

HIT = (
    b'{"_index":"shop","_id":"%d","_score":%s,"_source":{"n":12345678901234567890123.10},'
    b'"fields":{"title":["a"],"n":[1.0]}}'
)
ANSWER = (
    b'{"took":3,"_shards":{"total":1,"failed":0},"hits":{"total":{"value":3,"relation":"eq"},"max_score":1.50E1,"hits":['
    + b",".join([HIT % (1, b"1.50E1"), HIT % (2, b"1.0"), HIT % (3, b"0.5")])
    + b']},"aggregations":{"x":{"value":1.10}}}'
)


def answer() -> SearchAnswer:
    read = read_answer(ANSWER)
    assert read is not None
    return read


def test_an_answer_written_again_is_the_same_bytes() -> None:
    assert answer().own_page(0, 10, ()) == ANSWER


def test_our_fields_are_taken_out_and_nothing_else_changes() -> None:
    page = answer().own_page(1, 1, ("title",))
    assert json.loads(page)["hits"]["hits"][0]["fields"] == {"n": [1.0]}
    assert b'"n":12345678901234567890123.10' in page
    assert b'"max_score":1.50E1' in page
    assert b'{"x":{"value":1.10}}' in page
    assert "fields" not in json.loads(answer().own_page(1, 1, ("title", "n")))["hits"]["hits"][0]


def test_our_fields_are_taken_out_of_suggested_products() -> None:
    option = b'{"text":"a","_score":1.50E1,"_source":{"n":1.10},"fields":{"title":["a"]}}'
    suggest = b'{"s":[{"text":"a","offset":0,"options":[%s]}]}'
    read = read_answer(ANSWER[:-1] + b',"suggest":' + suggest % option + b"}")
    assert read is not None
    assert suggest % option in read.own_page(0, 1, ())
    without = b'{"text":"a","_score":1.50E1,"_source":{"n":1.10}}'
    assert suggest % without in read.own_page(0, 1, ("title",))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"error":1}', b'{"hits":{"hits":{}}}', b'{"hits":{"hits":[1]}}']
)
def test_what_is_no_answer(body: bytes) -> None:
    assert read_answer(body) is None


def test_failed_shards_are_seen() -> None:
    assert not answer().shards_failed
    broken = read_answer(ANSWER.replace(b'"failed":0', b'"failed":1'))
    assert broken is not None and broken.shards_failed


def test_the_highest_score_is_as_it_was_written() -> None:
    assert bytes(highest_score(answer().hits, Raw(b"null"))) == b"1.50E1"
    assert bytes(highest_score(answer().hits[1:], Raw(b"null"))) == b"1.0"
    assert bytes(highest_score([], Raw(b"7"))) == b"7"


@pytest.mark.parametrize(
    ("total", "removed", "known", "left"),
    [
        ({"value": 120, "relation": "eq"}, 37, 63, {"value": 83, "relation": "eq"}),
        ({"value": 10_000, "relation": "gte"}, 37, 63, {"value": 9_963, "relation": "gte"}),
        ({"value": 5, "relation": "gte"}, 37, 63, {"value": 5, "relation": "gte"}),
        ({"value": 50, "relation": "gte"}, 37, 20, {"value": 20, "relation": "gte"}),
        (120, 37, 63, 83),
        (-1, 37, 63, -1),
    ],
)
def test_totals_follow_what_was_removed(total: object, removed: int, known: int, left: object) -> None:
    assert json.loads(bytes(fewer(Raw(json.dumps(total).encode()), removed, known))) == left


@given(value=st.integers(0, 10**6), removed=st.integers(0, 100), known=st.integers(0, 100))
def test_a_lower_bound_stays_one(value: int, removed: int, known: int) -> None:
    truth = max(value, removed + known)  # what really matches is at least what was counted and what was seen
    raw = Raw(json.dumps({"value": value, "relation": "gte"}).encode())
    assert 0 <= json.loads(bytes(fewer(raw, removed, known)))["value"] <= truth - removed


def test_an_ended_list_is_exact() -> None:
    assert json.loads(bytes(exactly(Raw(b'{"value":9,"relation":"gte"}'), 4))) == {
        "value": 4,
        "relation": "eq",
    }
    assert bytes(exactly(Raw(b"9"), 4)) == b"4"
    assert bytes(exactly(Raw(b"-1"), 4)) == b"-1"


@given(
    st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(alphabet='a":[]{}, \\'),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a":[]{} \\'), inner, max_size=3)
        ),
        max_leaves=20,
    )
)
def test_a_pretty_answer_is_the_same_answer(value: object) -> None:
    written = pretty(json.dumps(value).encode())
    assert json.loads(written) == value
    assert written.endswith(b"\n")


def test_pretty_as_opensearch_has_it() -> None:
    assert pretty(b'{"a":[],"b":{},"c: []":"[]","d":[1,{"e":"x\\\\\\": {}"}]}') == (
        b'{\n  "a" : [ ],\n  "b" : { },\n  "c: []" : "[]",\n  "d" : [\n    1,\n    {\n'
        b'      "e" : "x\\\\\\": {}"\n    }\n  ]\n}\n'
    )
