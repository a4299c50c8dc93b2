"""Which settings of `csrm serve` and of a profile suit this machine, from what was measured on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csrm.benchmark.row import Row

WORTH = 1.15
"""More replicas with fewer threads each make every query slower: they have to bring so many times the products."""


@dataclass(frozen=True, slots=True)
class Advice:
    """``windows`` are the products a query that fit into the budget at p50, by level; 0 where not even ``least`` do.

    ``least`` is the fewest products that were measured.
    """

    precision: str
    threads: int
    replicas: int
    budget_ms: float
    windows: Mapping[str, int]
    least: int

    def as_json(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "threads": self.threads,
            "replicas": self.replicas,
            "budget_ms": self.budget_ms,
            "windows": dict(self.windows),
        }

    def sentences(self) -> list[str]:
        """What to say and to type."""
        lines = [
            f"csrm serve --precision {self.precision} --threads {self.threads} --replicas {self.replicas}",
            f"window for a budget of {self.budget_ms:g} ms at p50, one query at a time:",
        ]
        return lines + [
            f"  {name}: {window or f'fewer than {self.least}'}"
            for name, window in sorted(self.windows.items())
        ]


def advise(
    rows: Sequence[Row], scaling: Mapping[int, float], *, cores: int, budget_ms: float, on_gpu: bool
) -> Advice:
    """Settings for this machine.

    Args:
        rows: of the benchmark, with all ``cores``; at least one of ``csrm-full`` alone (one query at once).
        scaling: products a second of one replica by its threads; replicas are taken not to disturb each other.
        cores: that replicas may share.
        budget_ms: what judging a search may take.
        on_gpu: whether the model ran there; then there is one replica a device.
    """
    alone = [row for row in rows if row.scorer.startswith("csrm-") and row.concurrency == 1]
    whole = [row for row in alone if row.scorer == "csrm-full"]
    precision = max(whole, key=lambda row: (row.products, row.products_per_s)).precision
    threads, replicas = (cores, 1) if on_gpu else _shared_out(scaling, cores)
    slower = (
        scaling[max(scaling)] / scaling[threads] if scaling else 1.0
    )  # than the rows, which had all threads
    windows = {
        name: _window(
            [row for row in alone if row.scorer == name and row.precision == precision], budget_ms / slower
        )
        for name in {row.scorer for row in alone}
    }
    return Advice(precision, threads, replicas, budget_ms, windows, min(row.products for row in alone))


def _shared_out(scaling: Mapping[int, float], cores: int) -> tuple[int, int]:
    """Threads and replicas: one replica with everything, unless more of them bring much more."""
    most = max(scaling)
    best = max(scaling, key=lambda threads: scaling[threads] * (cores // threads))
    worth_it = scaling[best] * (cores // best) >= WORTH * scaling[most] * (cores // most)
    threads = best if worth_it else most
    return threads, max(1, cores // threads)


def _window(rows: Sequence[Row], budget_ms: float) -> int:
    """Products that fit, on the line through the measured cells around the budget; at most those measured."""
    cells = sorted((row.products, row.p50_ms) for row in rows)
    fitting = [cell for cell in cells if cell[1] <= budget_ms]
    if not fitting:
        return 0
    n, ms = fitting[-1]
    beyond = [cell for cell in cells if cell[0] > n]
    if not beyond:
        return n
    more, more_ms = beyond[0]
    return n + int((more - n) * (budget_ms - ms) / (more_ms - ms))
