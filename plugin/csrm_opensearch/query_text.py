"""What did the shopper type? Read from the query DSL of a search, or say why it cannot be read.

Knows the query types of OpenSearch that carry text a person may have typed; never raises, whatever the JSON.
Filters, negative clauses and exact terms are the shop's words, not the shopper's, and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from csrm.wire import MAX_QUERY_CHARS


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a search is left as it is; ``reason`` is the word in ``csrm-status``."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Typed:
    """One text of the DSL and the fields it is searched in (none: the index's default)."""

    text: str
    fields: tuple[str, ...]
    syntax: bool = False  # the text is in the query string mini-language


def shopper_text(
    body: object,
    *,
    q: str | None = None,
    query_path: str | None = None,
    query_fields: Sequence[str] | None = None,
) -> str | Skip:
    """The one text the shopper typed.

    Args:
        body: the decoded search body; any JSON value.
        q: the ``q`` parameter of the URL, which stands above the body's query.
        query_path: JSON pointer into the body; where it leads to a text, that is the text.
        query_fields: where the DSL has several different texts, the one searched for in one of these fields.

    Returns:
        The text with its whitespace collapsed, or a Skip: ``no-query-text``, ``blank-query``,
        ``ambiguous-query``, ``query-syntax`` (operators of the query string language), ``query-too-long``.
    """
    if q is not None:
        found = [_Typed(q, (), syntax=True)]
    elif query_path is not None and isinstance(pointed := _at(body, query_path), str):
        found = [_Typed(pointed, ())]
    else:
        query = body.get("query") if isinstance(body, dict) else None
        found = list(_typed(query))
        if query_fields is not None and len({_plain(typed.text) for typed in found}) > 1:
            found = [typed for typed in found if _searches_in(typed, query_fields)]
    if not found:
        return Skip("no-query-text")
    texts = {_plain(typed.text): typed for typed in found}
    texts.pop("", None)
    if not texts:
        return Skip("blank-query")
    if len(texts) > 1:
        return Skip("ambiguous-query")
    (text, typed), *_ = texts.items()
    if len(text) > MAX_QUERY_CHARS:
        return Skip("query-too-long")
    if typed.syntax and _SYNTAX.search(text):
        return Skip("query-syntax")
    return text


_SYNTAX = re.compile(
    r"""(?<!\S)(?:AND|OR|NOT)(?!\S) | && | \|\|
    | [\w.*]+:\S | (?<!\S)[-!][\w"(] | [\[\]{}*\\] | (?<!\S)/.*/ """,
    re.VERBOSE,
)
"""Operators that make a query string more than words; quotes, ``+`` and ``~`` are left in the words."""


def _plain(text: str) -> str:
    return " ".join(text.split())


def _searches_in(typed: _Typed, fields: Sequence[str]) -> bool:
    return any(name.split("^")[0] in fields for name in typed.fields)


def _at(value: object, pointer: str) -> object:
    """The value at a JSON pointer (RFC 6901), or null."""
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif (
            isinstance(value, list)
            and key.isascii()
            and key.isdigit()
            and len(key) < 10
            and int(key) < len(value)
        ):
            value = value[int(key)]
        else:
            return None
    return value


def _typed(query: object) -> Iterator[_Typed]:
    """All texts of a query, in the order of the DSL; a stack instead of recursion, for any depth."""
    stack = [query]
    while stack:
        clause = stack.pop()
        if isinstance(clause, list):
            stack.extend(reversed(clause))
        elif isinstance(clause, dict):
            for kind, value in clause.items():
                if kind in _INNER:
                    if isinstance(value, dict):
                        stack.extend(value[key] for key in reversed(_INNER[kind]) if key in value)
                elif kind in _READ:
                    yield from _READ[kind](value)


_INNER: dict[str, tuple[str, ...]] = {
    "bool": ("must", "should"),
    "boosting": ("positive",),
    "constant_score": ("filter",),
    "dis_max": ("queries",),
    "function_score": ("query",),
    "has_child": ("query",),
    "has_parent": ("query",),
    "hybrid": ("queries",),
    "nested": ("query",),
    "script_score": ("query",),
}
"""Compound queries, and the parts of them in which the shopper's text may stand."""


def _by_field(*keys: str) -> Callable[[object], Iterator[_Typed]]:
    """Queries of the form ``{field: text}`` or ``{field: {key: text}}``."""

    def read(value: object) -> Iterator[_Typed]:
        if isinstance(value, dict):
            for field, inner in value.items():
                texts = [inner.get(key) for key in keys] if isinstance(inner, dict) else [inner]
                yield from (_Typed(text, (field,)) for text in texts if isinstance(text, str))

    return read


def _neural(value: object) -> Iterator[_Typed]:
    """``{field: {"query_text": text}}``; the bare form of ``match`` does not exist here."""
    if isinstance(value, dict):
        for field, inner in value.items():
            if isinstance(inner, dict) and isinstance(text := inner.get("query_text"), str):
                yield _Typed(text, (field,))


def _over_fields(*, syntax: bool) -> Callable[[object], Iterator[_Typed]]:
    """Queries of the form ``{"query": text, "fields": [...]}``."""

    def read(value: object) -> Iterator[_Typed]:
        if isinstance(value, dict) and isinstance(text := value.get("query"), str):
            yield _Typed(text, _names(value), syntax=syntax)

    return read


def _names(value: dict[str, Any]) -> tuple[str, ...]:
    fields = value.get("fields", value.get("default_field"))
    fields = fields if isinstance(fields, list) else [fields]
    return tuple(name for name in fields if isinstance(name, str))


_READ: dict[str, Callable[[object], Iterator[_Typed]]] = {
    "combined_fields": _over_fields(syntax=False),
    "match": _by_field("query"),
    "match_bool_prefix": _by_field("query"),
    "match_phrase": _by_field("query"),
    "match_phrase_prefix": _by_field("query"),
    "multi_match": _over_fields(syntax=False),
    "neural": _neural,
    "neural_sparse": _neural,
    "query_string": _over_fields(syntax=True),
    # made for what people type: it never fails on stray operators, and shops hand the text through as it is
    "simple_query_string": _over_fields(syntax=False),
}
"""Queries that carry a text, and how it is read."""
