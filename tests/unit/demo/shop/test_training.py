"""What the shop gives to training: the grades of its rules, no held-out family, no query that is measured."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from csrm.training.data import LabelledPair, normalise
from demo.shop import LOCALES, products, queries
from demo.shop.knowledge import knowledge_entries
from demo.shop.schema import families, held_out_families
from demo.shop.training import pairs, trained_families


@pytest.fixture(scope="module")
def rows() -> list[LabelledPair]:
    return [LabelledPair.model_validate(row) for row in pairs()]


def test_rows_are_of_every_locale_and_grade(rows: list[LabelledPair]) -> None:
    assert len(rows) > 5_000
    counted = Counter((row.locale, row.label) for row in rows)
    assert set(counted) == {(locale, grade) for locale in LOCALES for grade in "ESCI"}
    assert max(counted.values()) < 3 * min(counted.values())


def test_no_pair_is_given_twice_with_two_grades(rows: list[LabelledPair]) -> None:
    grades = defaultdict(set)
    for row in rows:
        grades[row.locale, *row.key].add(row.label)
    assert max(map(len, grades.values())) == 1


def test_no_product_of_a_held_out_family_is_in_it(rows: list[LabelledPair]) -> None:
    titles = {
        title for one in products() if one.family in held_out_families() for title in one.titles.values()
    }
    assert not titles & {row.title for row in rows}


def test_no_query_that_is_measured_is_in_it(rows: list[LabelledPair]) -> None:
    measured = {normalise(query.text) for locale in LOCALES for query in queries(locale)}
    assert not measured & {normalise(row.query) for row in rows}


def test_knowledge_for_training_names_no_held_out_family() -> None:
    entries = knowledge_entries(trained_families())
    said = " | ".join(entry.model_dump_json() for entry in entries).casefold()
    for name in held_out_families():
        for locale in LOCALES:
            assert families()[name].category[locale][0].casefold() not in said, name
        assert not any(entry.id.endswith(f"-{name}") for entry in entries)
    assert len(entries) > 200


def test_the_same_rows_every_time(rows: list[LabelledPair]) -> None:
    again = pairs()
    assert [LabelledPair.model_validate(next(again)) for _ in range(500)] == rows[:500]
