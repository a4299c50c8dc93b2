"""Draws by whole queries: intervals that hold the truth as often as they say, and that are wide where rows repeat."""

from __future__ import annotations

import numpy as np
import pytest

from csrm.evaluation.bootstrap import clusters, estimates
from csrm.evaluation.figures import share
from csrm.training.data import LabelledPair


def row(query: str, title: str, locale: str = "en", id: int | str | None = None) -> LabelledPair:
    return LabelledPair(query=query, title=title, label="E", locale=locale, id=id)


def test_rows_of_a_query_and_translations_are_drawn_together() -> None:
    rows = [
        row("case", "a", id=1),
        row("Ｃase ", "b", id=2),
        row("case", "c", "es"),
        row("funda", "d", "es", 1),
        row("pan", "e", id="x"),
    ]
    found = list(clusters(rows))
    assert found[0] == found[1] == found[3]
    assert len({found[0], found[2], found[4]}) == 3
    assert sorted(set(found)) == [0, 1, 2]


def test_ids_of_products_join_nothing() -> None:
    rows = [row("case", "a", id=1), row("cover", "a", id=1), row("funda", "a", "es", 1)]
    assert len(set(clusters(rows))) == 3


def test_an_interval_holds_the_truth_in_95_of_100_cases() -> None:
    held = 0
    for seed in range(200):
        truth = np.random.default_rng(seed).random(300) < 0.3
        found = estimates({"x": share(truth, np.ones(300, dtype=bool))}, np.arange(300), draws=300)["x"]
        low, high = found["ci95"]  # type: ignore[misc]
        held += low <= 0.3 <= high
    assert 180 <= held <= 199


def test_repeated_rows_make_no_narrower_interval() -> None:
    truth = np.random.default_rng(5).random(100) < 0.3
    five = np.tile(truth, 5)
    every = np.ones(500, dtype=bool)
    once = estimates({"x": share(truth, every[:100])}, np.arange(100))["x"]
    together = estimates({"x": share(five, every)}, np.tile(np.arange(100), 5))["x"]
    apart = estimates({"x": share(five, every)}, np.arange(500))["x"]
    assert together["ci95"] == pytest.approx(once["ci95"])
    widths = [found["ci95"][1] - found["ci95"][0] for found in (together, apart)]  # type: ignore[index]
    assert widths[0] > 1.8 * widths[1]


def test_equal_rows_give_equal_intervals_and_draws_in_parts_are_the_same_figures() -> None:
    truth = np.random.default_rng(5).random(9_000) < 0.3
    every = np.ones(9_000, dtype=bool)
    one, two = (estimates({"x": share(truth, every)}, np.arange(9_000), draws=900) for _ in range(2))
    assert one == two  # 9,000 rows: the draws come in several parts
    assert one["x"]["ci95"] is not None


def test_one_query_has_no_interval() -> None:
    found = estimates(
        {"x": share(np.array([True, False]), np.ones(2, dtype=bool))}, np.zeros(2, dtype=np.intp)
    )
    assert found["x"] == {"value": 0.5, "ci95": None}
