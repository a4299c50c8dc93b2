"""Likeness of spellings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.ngrams import NgramIndex

short = st.text("abcd 한글カナ漢字", max_size=12)


def test_a_misspelling_is_more_alike_than_another_word() -> None:
    alike, covered = NgramIndex(["adidas", "samsung", "掃地機器人"]).compare("addidas shoes")
    assert alike.argmax() == covered.argmax() == 0
    assert covered[0] > 0.8 > 0.2 > covered[1]
    assert alike[2] == covered[2] == 0


def test_text_without_spaces_is_covered() -> None:
    _, covered = NgramIndex(["掃地機器人", "空氣清淨機"]).compare("小米掃地機器人推薦")
    assert covered[0] > 0.6 > 0.2 > covered[1]


@given(st.lists(short, min_size=1, max_size=5), short)
def test_measures_are_between_zero_and_one(texts: list[str], query: str) -> None:
    for scores in NgramIndex(texts).compare(query):
        assert scores.shape == (len(texts),)
        assert bool(((scores >= 0) & (scores <= 1 + 1e-6)).all())


@given(
    st.lists(short.filter(str.strip), min_size=1, max_size=5, unique_by=lambda text: " ".join(text.split()))
)
def test_a_text_is_like_itself(texts: list[str]) -> None:
    index = NgramIndex(texts)
    for number, text in enumerate(texts):
        alike, covered = index.compare(text)
        assert np.isclose(alike[number], 1, atol=1e-4)
        assert covered[number] == 1
