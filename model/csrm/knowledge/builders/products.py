"""Entries from a product index, given as counts: brands with their categories, categories, and attribute values.

Knows counts and rules; who counts is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csrm.knowledge.builders.merging import entry_id
from csrm.knowledge.entries import CategoryEntry, TermEntry

_NAMED = 4
"""Categories that a meaning names: a prompt line has room for no more."""
_OWN_SHARE = 0.8
"""Share of a value's products in one category from which the value is said to be of it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many products have a value, by category (a path whose levels are parted by `` > ``)."""

    value: str
    by_category: Mapping[str, int]

    @property
    def products(self) -> int:
        """In all categories."""
        return sum(self.by_category.values())


def brand_terms(
    brands: Iterable[Counts], *, source: str = "products", min_products: int = 3
) -> list[TermEntry]:
    """``Lumera = brand of cell phones, tablets``: the categories with most of its products first."""
    return [
        TermEntry(
            id=entry_id(source, "brand", brand.value),
            source=source,
            term=brand.value,
            meaning=f"brand of {', '.join(_leaf(category) for category in _most(brand)[:_NAMED])}"[:500],
        )
        for brand in brands
        if brand.products >= min_products and _sayable(brand.value)
    ]


def attribute_terms(
    values: Iterable[Counts], *, locale: str | None = None, source: str = "products", min_products: int = 5
) -> list[TermEntry]:
    """``MagSafe = said of phone cases``: values of which nearly all products are in one category.

    A colour is said of everything, so it says nothing of a query's category, and makes no entry.
    """
    entries = []
    for value in values:
        if value.products < min_products or not _sayable(value.value):
            continue
        category = _most(value)[0]
        if value.by_category[category] >= _OWN_SHARE * value.products:
            entries.append(
                TermEntry(
                    id=entry_id(source, "attribute", value.value, locale or ""),
                    locale=locale,
                    source=source,
                    term=value.value,
                    meaning=f"said of {_leaf(category)}"[:500],
                )
            )
    return entries


def categories(
    paths: Mapping[str, int], *, locale: str, source: str = "products", min_products: int = 3
) -> list[CategoryEntry]:
    """One entry a category path with enough products."""
    return [
        CategoryEntry(id=entry_id(source, "category", path, locale), source=source, paths={locale: path})
        for path, products in paths.items()
        if products >= min_products and path.strip() and len(path) <= 500
    ]


def _most(counts: Counts) -> list[str]:
    return sorted(counts.by_category, key=lambda category: (-counts.by_category[category], category))


def _leaf(path: str) -> str:
    return path.rsplit(">", 1)[-1].strip() or path


def _sayable(value: str) -> bool:
    return bool(value.strip()) and len(value) <= 200
