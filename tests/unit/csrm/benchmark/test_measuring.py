"""A cell of the table: callers at once, each at least once, for as long as they are told."""

from __future__ import annotations

import threading
import time

import pytest

from csrm.benchmark.measuring import grid, measure
from csrm.benchmark.workload import Search


class Sleeper:
    """Takes a fixed time, and notes what it was asked and by how many at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[Search] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, search: Search) -> None:
        with self._lock:
            self.asked.append(search)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self._lock:
            self.at_once -= 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_so_many_callers_ask_at_once(concurrency: int) -> None:
    score = Sleeper(0.05)
    cell = measure(score, 7, concurrency, seconds=0.3)
    assert score.most_at_once == concurrency
    assert len(cell.latencies_ms) == len(score.asked) >= 2 * concurrency
    assert {len(search.products) for search in score.asked} == {7}
    assert len({search.query for search in score.asked}) == len(score.asked)
    assert 50 <= cell.percentile_ms(50) < 200
    assert cell.products_per_s == pytest.approx(7 * len(score.asked) / cell.wall_s)


def test_a_slow_scorer_is_asked_once_by_each() -> None:
    score = Sleeper(0.2)
    cell = measure(score, 1, 3, seconds=0.01)
    assert len(cell.latencies_ms) == 3


def test_what_a_scorer_raises_is_raised() -> None:
    def broken(_: Search) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure(broken, 1, 2, seconds=0.1)


def test_the_cheap_cells_come_first() -> None:
    cells = list(grid([1_000, 10], [16, 1]))
    assert cells[0] == (10, 1) and cells[-1] == (1_000, 16)
    assert len(cells) == 4
