"""Judgments: only what is exact, one entry a query."""

from __future__ import annotations

import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge.builders.judged import MAX_TITLES, from_judgments
from csrm.training.data import LabelledPair


def pair(query: str, title: str, label: str = "E", locale: str = "en") -> LabelledPair:
    return LabelledPair(query=query, title=title, label=label, locale=locale)


def test_the_exact_products_of_a_query_are_its_titles() -> None:
    rows = [pair("Phone case", "Slim"), pair("phone  CASE", "Clear"), pair("phone case", "Slim")]
    rows += [pair("phone case", "Cable", label) for label in "SCI"]
    rows += [pair("phone case", "Funda", locale="es"), pair("tv", "Radio", "I")]
    entries = from_judgments(rows, source="ours")
    assert [(entry.query, entry.locale, entry.titles) for entry in entries] == [
        ("Phone case", "en", ["Slim", "Clear"]),
        ("phone case", "es", ["Funda"]),
    ]
    assert len({entry.id for entry in entries}) == 2


def test_long_texts_and_many_titles_are_cut() -> None:
    (entry,) = from_judgments(pair("q" * 9_000, f"{n}" + "t" * 100_000) for n in range(9))
    assert (len(entry.query), len(entry.titles), len(entry.titles[0])) == (200, MAX_TITLES, 1_000)


def test_an_unknown_locale_is_refused() -> None:
    with pytest.raises(KnowledgeError, match="field locale"):
        from_judgments([pair("a", "b", locale="english!")])
