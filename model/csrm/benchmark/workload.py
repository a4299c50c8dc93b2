"""What is scored: queries of a shop with the products that a lexical search finds for them. Pure.

``shop.json`` holds the queries and titles of the demo shop in English and Korean, written for this project. The
products of a query are those that share most with it, best first, as a search engine's window is; what a cascade
saves depends on that.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count

MOST_PRODUCTS = 1_000


@dataclass(frozen=True, slots=True)
class Search:
    """A query and its products."""

    query: str
    locale: str
    products: tuple[str, ...]


@cache
def _searches() -> tuple[Search, ...]:
    """Every query of the shop with its `MOST_PRODUCTS` nearest titles; the locales take turns."""
    shop = json.loads((files("csrm.benchmark") / "shop.json").read_text(encoding="utf-8"))
    by_locale = [
        [Search(query, locale, _nearest(query, titles)) for query in own["queries"]]
        for locale, own in shop.items()
        for titles in [_parts_of(own["titles"])]
    ]
    return tuple(search for turn in zip(*by_locale, strict=True) for search in turn)


def searches(products: int, first: int = 0) -> Iterator[Search]:
    """Searches with so many products each, without end: the shop's queries in turn from the one numbered ``first``.

    There are more queries than an engine remembers prefixes for, so each is new to it when it comes round again.
    """
    every = _searches()  # before the first is asked for: it takes a second
    return (
        Search(search.query, search.locale, search.products[:products])
        for number in count(first)
        for search in [every[number % len(every)]]
    )


def _parts_of(titles: list[str]) -> dict[str, frozenset[str]]:
    return {title: _parts(title) for title in titles}


def _nearest(query: str, titles: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """Titles by what they share with the query, rare parts first in weight; of like ones the shorter first."""
    spread = Counter(part for parts in titles.values() for part in parts)
    wanted = {part: math.log(len(titles) / (1 + spread[part])) for part in _parts(query)}

    def share(title: str) -> tuple[float, int]:
        return -sum(wanted[part] for part in titles[title] & wanted.keys()), len(title)

    return tuple(sorted(titles, key=share)[:MOST_PRODUCTS])


def _parts(text: str) -> frozenset[str]:
    """Pairs of characters within words: they serve every script."""
    words = text.lower().split()
    return frozenset(word[at : at + 2] for word in words for at in range(max(len(word) - 1, 1)))
