"""How long a run takes at most: no scorer, however fast or slow, takes longer."""

from __future__ import annotations

import pytest

from csrm.benchmark.duration import longest_s
from csrm.benchmark.measuring import grid
from csrm.benchmark.run import QUICK, Plan

CELLS = list(grid((10, 100, 1_000), (1, 4, 16)))


def took_s(rate: float, seconds: float, limit_s: float, compared: int) -> float:
    """Of a scorer of constant speed that answers one query after the other: who has an answer in time asks again."""
    total = min(compared / rate, limit_s)
    for products, callers in CELLS:
        one = products / rate
        if callers * one <= limit_s:
            total += one * (callers + int(seconds / one))
    return total


@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("limit_s", [30.0, 60.0, 400.0])
def test_no_scorer_takes_longer(seconds: float, limit_s: float) -> None:
    most = longest_s(CELLS, seconds=seconds, limit_s=limit_s, compared=200)
    rates = [0.34 * 1.01**step for step in range(1_300)]  # from the smallest cell just in time to every one
    taken = [took_s(rate, seconds, limit_s, 200) for rate in rates]
    assert 0.6 * most < max(taken) <= most * (1 + 1e-9)


@pytest.mark.parametrize(
    ("cells", "most"),
    [([(10, 1)], 5 + 60 + 60), ([(10, 4), (100, 1)], 10 + 60 + 24 + 6), ([(100, 1)], 5 + 60 + 6)],
)
def test_the_worst_is_the_one_that_just_fits(cells: list[tuple[int, int]], most: float) -> None:
    assert longest_s(cells, seconds=5, limit_s=60, compared=10) == pytest.approx(most)


def test_what_a_quick_run_takes_is_minutes() -> None:
    cells = list(grid(QUICK.products, QUICK.concurrency))
    assert longest_s(cells, seconds=QUICK.seconds, limit_s=QUICK.cell_limit_s, compared=20) < 60
    plan = Plan()
    assert longest_s(CELLS, seconds=plan.seconds, limit_s=plan.cell_limit_s, compared=200) < 240
