"""Where the shopper's text is in a search, and a product's texts in its document, as JSON paths. Pure.

The ``ml_inference`` processor reads the search as OpenSearch writes it back, which is not always as the client
wrote it: ``{"match": {"title": "shoes"}}`` comes as ``{"match": {"title": {"query": "shoes", ...}}}``, and a
single clause of a ``bool`` as a list of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from csrm_opensearch.errors import NativeProfileError

Path = tuple[str | int, ...]

_LISTS = {"must", "should", "filter", "must_not"}
# Queries with a short form, and the name that the value has in the full one.
_SHORT = {
    "match": "query",
    "match_phrase": "query",
    "match_phrase_prefix": "query",
    "match_bool_prefix": "query",
    "term": "value",
}


def search_path(pointer: str) -> Path:
    """The place of the text in a search as OpenSearch writes it back.

    Args:
        pointer: JSON pointer into the body that a client sends (a profile's ``query_path``).

    Raises:
        NativeProfileError: it does not point into the query.

    >>> search_path("/query/bool/must/match/title")
    ('query', 'bool', 'must', 0, 'match', 'title', 'query')
    """
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
    if len(tokens) < 2 or tokens[0] != "query":
        raise NativeProfileError(
            f"query_path {pointer!r}: a search pipeline finds the text in the query only; point there, as in "
            "/query/multi_match/query, or leave it out and send ext.rerank with every search."
        )
    path: list[str | int] = []
    for place, token in enumerate(tokens):
        in_list = place > 1 and tokens[place - 1] in _LISTS and tokens[place - 2] == "bool"
        if in_list and not token.isdecimal():
            path.append(0)
        number = token.isdecimal() and (in_list or tokens[place - 1] == "queries")
        path.append(int(token) if number else token)
    if len(tokens) > 2 and tokens[-2] in _SHORT:
        path.append(_SHORT[tokens[-2]])
    return tuple(path)


def request_expression(path: Path) -> str:
    """The JSON path by which ``ml_inference`` reads the search.

    >>> request_expression(("query", "bool", "must", 0, "match", "title.en", "query"))
    "$._request.query['bool']['must'][0]['match']['title.en']['query']"
    """
    return f"$._request.{path[0]}{_brackets(path[1:])}"


def document_expression(fields: Sequence[str]) -> str:
    """The JSON path by which ``ml_inference`` reads the texts of a document, with a blank between them.

    A field that a document lacks counts as empty; without the blank a document that lacks them all would be
    an error.

    >>> document_expression(["brand", "name.en"])
    '$.concat($[\\'brand\\']," ",$[\\'name\\'][\\'en\\']," ")'
    """
    parts = [f'${_brackets(field.split("."))}," "' for field in fields]
    return f"$.concat({','.join(parts)})"


def search_with(path: Path, text: str) -> dict[str, Any]:
    """The smallest search body that has ``text`` at ``path``.

    >>> search_with(("query", "bool", "must", 0, "match", "title", "query"), "shoes")
    {'query': {'bool': {'must': [{'match': {'title': {'query': 'shoes'}}}]}}}
    """
    value: Any = text
    for step in reversed(path):
        value = [value] * (step + 1) if isinstance(step, int) else {step: value}
    return dict(value)


def _brackets(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f"[{_quoted(step)}]" for step in path)


def _quoted(name: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", name) + "'"
