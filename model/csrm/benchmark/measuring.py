"""Measuring one cell of the table: so many products a query, so many queries at once.

Closed loop: each of the callers sends its next query when it has the answer to the last. Knows a function that
scores; knows no model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from csrm.benchmark.workload import Search, searches


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured; ``wall_s`` is from the first query sent to the last answered."""

    products: int
    concurrency: int
    latencies_ms: tuple[float, ...]
    wall_s: float

    @property
    def products_per_s(self) -> float:
        return self.products * len(self.latencies_ms) / self.wall_s

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_ms, percent))


def measure(
    score: Callable[[Search], object], products: int, concurrency: int, *, seconds: float, first: int = 0
) -> Cell:
    """Let ``concurrency`` callers ask for ``seconds``, each at least once.

    Args:
        score: scores a search; called from several threads at once.
        first: number of the first search, so that no two cells ask the same.
    """
    coming = searches(products, first)
    taking = threading.Lock()
    started = time.perf_counter()
    until = started + seconds

    def caller(_: int) -> list[float]:
        taken: list[float] = []
        while not taken or time.perf_counter() < until:
            with taking:
                search = next(coming)
            asked = time.perf_counter()
            score(search)
            taken.append((time.perf_counter() - asked) * 1e3)
        return taken

    with ThreadPoolExecutor(concurrency) as callers:
        latencies = [ms for own in callers.map(caller, range(concurrency)) for ms in own]
    return Cell(products, concurrency, tuple(latencies), time.perf_counter() - started)


def grid(products: Sequence[int], concurrency: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The cells, the cheap ones first, so that what the dear ones take can be told before they are run."""
    return iter(sorted(((n, k) for n in products for k in concurrency), key=lambda cell: cell[0] * cell[1]))
