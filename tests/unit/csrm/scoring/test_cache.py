"""The cache of grades: exact, bounded, and never an answer to another question."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.model import RelevanceModel
from csrm.scoring.cache import ENTRY_BYTES, GradeCache


def grades(*firsts: float) -> np.ndarray:
    return np.array([[first, 1 - first, 0, 0] for first in firsts], dtype=np.float32)


def ask(cache: GradeCache, question: list[str | None], products: list[str]) -> tuple[list[int], np.ndarray]:
    out = np.zeros((len(products), 4), dtype=np.float32)
    unknown, _ = cache.find(question, products, out)
    return unknown, out


def test_what_was_kept_is_found_and_the_rest_is_named() -> None:
    cache = GradeCache(2**20)
    _, keys = cache.find(["case", "en"], ["a", "b"], np.zeros((2, 4), dtype=np.float32))
    cache.keep(keys, grades(0.25, 0.75))
    unknown, out = ask(cache, ["case", "en"], ["b", "new", "a"])
    assert unknown == [1]
    assert out[[0, 2], 0].tolist() == [0.75, 0.25]
    cache.count(hits=2, misses=1)
    assert (cache.hits, cache.misses) == (2, 1)


def test_the_least_recently_used_goes_first() -> None:
    cache = GradeCache(2 * ENTRY_BYTES)
    for product in ("a", "b"):
        _, keys = cache.find(["q"], [product], np.zeros((1, 4), dtype=np.float32))
        cache.keep(keys, grades(0.5))
    assert ask(cache, ["q"], ["a"])[0] == []
    _, keys = cache.find(["q"], ["c"], np.zeros((1, 4), dtype=np.float32))
    cache.keep(keys, grades(0.5))
    assert len(cache) == 2
    assert ask(cache, ["q"], ["a", "b", "c"])[0] == [1]


def test_no_bytes_keep_nothing() -> None:
    cache = GradeCache(0)
    _, keys = cache.find(["q"], ["a"], np.zeros((1, 4), dtype=np.float32))
    cache.keep(keys, grades(0.5))
    assert ask(cache, ["q"], ["a"])[0] == [0]


Texts = st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=4)


@given(first=Texts, second=Texts)
def test_questions_that_differ_share_nothing(first: list[str | None], second: list[str | None]) -> None:
    cache = GradeCache(2**20)
    _, keys = cache.find(first, ["a"], np.zeros((1, 4), dtype=np.float32))
    cache.keep(keys, grades(0.5))
    assert ask(cache, second, ["a"])[0] == ([] if first == second else [0])


@pytest.fixture
def model(tmp_path: Path, tiny_bases: dict[str, Path]) -> RelevanceModel:
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"])}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    return RelevanceModel.load(tmp_path, precision="fp32", cache_mb=1)


def test_a_model_judges_only_what_it_has_not_judged(model: RelevanceModel) -> None:
    first, timings = model.grade("case", ["red case", "blue case"], locale="en"), {}
    again = model.grade("case", ["blue case", "red case"], locale="en", timings=timings)
    assert np.array_equal(again, first[::-1])
    assert set(timings) == {"cache"}
    model.grade("case", ["blue case", "glue"], locale="en", timings=timings)
    assert "products" in timings
    assert (model.cache.hits, model.cache.misses) == (3, 3)


@pytest.mark.parametrize(
    "other", [{"locale": "ko"}, {"locale": None}, {"locale": "en", "knowledge": ["case = cover"]}]
)
def test_another_locale_or_knowledge_is_another_question(
    model: RelevanceModel, other: dict[str, object]
) -> None:
    model.grade("case", ["red case"], locale="en")
    model.grade("case", ["red case"], **other)  # type: ignore[arg-type]
    assert model.cache.hits == 0
