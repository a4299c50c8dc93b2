"""Misspellings: what passes for one and what is another word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.edits import edits, misspelled_in

short = st.text("abc", max_size=7)


@pytest.mark.parametrize(
    ("query", "spelling", "words"),
    [
        ("addidas shoes", "adidas", "addidas"),
        ("samsumg charger", "samsung", "samsumg"),
        ("new airpod pro", "airpods", "airpod"),
        ("phillips", "philips", "phillips"),
        ("my bycicle helmet", "bicycle helmet", "bycicle helmet"),
        ("louis vuiton bag", "louis vuitton", "louis vuiton"),
        ("あでぃたす", "あでぃだす", "あでぃたす"),
        ("아디다수 신발", "아디다스", "아디다수"),
    ],
)
def test_a_slip_is_seen(query: str, spelling: str, words: str) -> None:
    assert misspelled_in(query, spelling) == words


@pytest.mark.parametrize(
    ("query", "spelling"),
    [
        ("dysonic", "dyson"),
        ("tenista", "tenis"),
        ("tango", "mango"),
        ("nike", "bike"),
        ("iphone 14", "iphone 15"),
        ("samsonite", "samsung"),
        ("金項鍊", "金手鍊"),
        ("charger for laptop", "charger cord"),
        ("adidas", "adidas"),  # is no misspelling
        ("", "adidas"),
    ],
)
def test_another_word_is_no_slip(query: str, spelling: str) -> None:
    assert misspelled_in(query, spelling) is None


@given(short, short)
def test_edits_are_a_symmetric_distance(one: str, other: str) -> None:
    whole = edits(one, other, 99)
    assert whole == edits(other, one, 99)
    assert (whole == 0) == (one == other)
    assert abs(len(one) - len(other)) <= whole <= max(len(one), len(other))


@given(short, short, st.integers(0, 4))
def test_a_limit_changes_no_answer_below_it(one: str, other: str, limit: int) -> None:
    whole = edits(one, other, 99)
    limited = edits(one, other, limit)
    assert limited == whole if whole <= limit else limited > limit


def test_a_swap_is_one_edit() -> None:
    assert edits("smasung", "samsung", 9) == 1
