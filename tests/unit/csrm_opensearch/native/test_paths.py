"""Where the text is in a search as OpenSearch writes it back, and how that is told to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.errors import NativeProfileError
from csrm_opensearch.native.paths import document_expression, request_expression, search_path, search_with

names = st.text(alphabet="abc._-'\\ é", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pointer", "path"),
    [
        ("/query/multi_match/query", ("query", "multi_match", "query")),
        ("/query/match/title", ("query", "match", "title", "query")),
        ("/query/match/title/query", ("query", "match", "title", "query")),
        ("/query/term/sku", ("query", "term", "sku", "value")),
        ("/query/bool/must/match/title", ("query", "bool", "must", 0, "match", "title", "query")),
        ("/query/bool/should/2/match/title", ("query", "bool", "should", 2, "match", "title", "query")),
        ("/query/dis_max/queries/1/match/a", ("query", "dis_max", "queries", 1, "match", "a", "query")),
        ("/query/match/2024", ("query", "match", "2024", "query")),
        ("/query/match/a~1b~0c", ("query", "match", "a/b~c", "query")),
    ],
)
def test_path_in_the_full_form(pointer: str, path: tuple[str | int, ...]) -> None:
    assert search_path(pointer) == path


@pytest.mark.parametrize("pointer", ["/params/q", "/query", "/ext/rerank"])
def test_a_text_outside_the_query_is_refused(pointer: str) -> None:
    with pytest.raises(NativeProfileError, match="in the query only"):
        search_path(pointer)


def value_at(body: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


@given(st.lists(names | st.integers(0, 3), min_size=1, max_size=6), st.text())
def test_a_search_is_made_with_the_text_where_the_path_says(steps: list[str | int], text: str) -> None:
    path = ("query", *steps)
    assert value_at(search_with(path, text), path) == text


@given(st.lists(names, min_size=1, max_size=4))
def test_names_are_quoted_so_that_they_cannot_end_their_bracket(steps: list[str]) -> None:
    expression = request_expression(("query", *steps))
    unquoted = []
    rest = expression.removeprefix("$._request.query")
    while rest:
        assert rest.startswith("['")
        name, place = "", 2
        while rest[place] != "'":
            place += rest[place] == "\\"
            name += rest[place]
            place += 1
        assert rest[place : place + 2] == "']"
        unquoted.append(name)
        rest = rest[place + 2 :]
    assert unquoted == steps


def test_texts_of_a_document_have_blanks_between_them() -> None:
    assert document_expression(["title"]) == "$.concat($['title'],\" \")"
    assert document_expression(["a.b", "c"]) == "$.concat($['a']['b'],\" \",$['c'],\" \")"
