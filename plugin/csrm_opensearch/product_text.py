"""The text of a product, from the ``fields`` of its hit. Knows hits; knows no model and no prompt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from csrm.wire import MAX_PRODUCT_CHARS


def product_text(fields: dict[str, object], names: Sequence[str]) -> str:
    """The values of some fields in the order of ``names``, joined by a space; empty where there are none.

    Args:
        fields: the ``fields`` of a hit: lists of values by name, nested objects under the name of their root.
        names: dotted paths, e.g. ``["brand", "title", "variants.color"]``.
    """
    words = (_collapsed(str(value)) for name in names for value in values_of(fields, name))
    return " ".join(filter(None, words))[:MAX_PRODUCT_CHARS].strip()


def _collapsed(text: str) -> str:
    """Blanks of all kinds and numbers become one space; most texts have no others, which is soon found out."""
    if text.isprintable() and "  " not in text:
        return text.strip(" ")
    return " ".join(text.split())


def values_of(fields: dict[str, object], name: str) -> list[object]:
    """The plain values (texts, numbers, booleans as JSON writes them) of one field of a hit."""
    return [str(v).lower() if isinstance(v, bool) else v for v in _found(fields, name)]


def number_of(fields: dict[str, object], name: str) -> float:
    """The first number of a field of a hit; minus infinity where there is none."""
    for value in _found(fields, name):
        if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
            return float(value)
    return -math.inf


def _found(fields: object, name: str) -> Iterator[object]:
    if not isinstance(fields, dict):
        return
    if name in fields:
        values = fields[name]
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str | int | float):
                yield value
        return
    for root in _roots(name):
        nested = fields.get(root)
        for child in nested if isinstance(nested, list) else []:
            yield from _found(child, name[len(root) + 1 :])


def without_fields(fields: dict[str, object], names: Iterable[str]) -> None:
    """Take some fields out of the ``fields`` of a hit, in place; a nested object left empty goes too."""
    for name in names:
        if fields.pop(name, None) is not None:
            continue
        for root in _roots(name):
            nested = fields.get(root)
            if isinstance(nested, list):
                for child in nested:
                    if isinstance(child, dict):
                        without_fields(child, [name[len(root) + 1 :]])
                fields[root] = [child for child in nested if child != {}]
                if not fields[root]:
                    del fields[root]


def _roots(name: str) -> Iterator[str]:
    """``a`` and ``a.b`` for ``a.b.c``: what may be the name of a nested object on the way."""
    parts = name.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts)))
