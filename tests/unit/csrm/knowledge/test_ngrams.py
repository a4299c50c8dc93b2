"""Likeness of spellings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.ngrams import NgramIndex

short = st.text("abcd 한글カナ漢字", max_size=12)


def test_a_misspelling_is_more_alike_than_another_word() -> None:
    index = NgramIndex(["adidas", "samsung", "掃地機器人"])
    alike, covered = index.alike("addidas shoes"), index.covered("addidas shoes")
    assert alike.argmax() == covered.argmax() == 0
    assert covered[0] > 0.8 > 0.2 > covered[1]
    assert alike[2] == covered[2] == 0


def test_text_without_spaces_is_covered() -> None:
    covered = NgramIndex(["掃地機器人", "空氣清淨機"]).covered("小米掃地機器人推薦")
    assert covered[0] > 0.6 > 0.2 > covered[1]


@given(st.lists(short, min_size=1, max_size=5), short)
def test_measures_are_between_zero_and_one(texts: list[str], query: str) -> None:
    index = NgramIndex(texts)
    for scores in (index.alike(query), index.covered(query)):
        assert scores.shape == (len(texts),)
        assert bool(((scores >= 0) & (scores <= 1 + 1e-6)).all())


@given(
    st.lists(short.filter(str.strip), min_size=1, max_size=5, unique_by=lambda text: " ".join(text.split()))
)
def test_a_text_is_like_itself(texts: list[str]) -> None:
    index = NgramIndex(texts)
    for number, text in enumerate(texts):
        assert np.isclose(index.alike(text)[number], 1, atol=1e-4)
        assert index.covered(text)[number] == 1


def test_grams_of_most_texts_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"case {word}" for word in ("oak", "ivy", "fern", "moss")]
    every = NgramIndex(texts)
    monkeypatch.setattr("csrm.knowledge.ngrams.MAX_TEXTS", 3)
    telling = NgramIndex(texts)
    assert (every.covered("case") > 0.4).all()
    assert not telling.covered("case").any()
    assert not telling.alike("case").any()
    assert telling.covered("ivy").argmax() == telling.alike("case ivy").argmax() == 1
    assert telling.covered("ivy")[1] == telling.alike("ivy")[1] == 1
