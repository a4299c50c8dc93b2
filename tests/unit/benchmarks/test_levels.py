"""The plot of the levels: each with the time of the precision that it was evaluated in."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.levels import plot, points

FIGURE = {"value": 0.8, "ci95": [0.7, 0.9]}


def row(precision: str, p50_ms: float, **other: Any) -> dict[str, Any]:
    usual = {"scorer": "csrm-fast", "products": 100, "concurrency": 1}
    return usual | {"precision": precision, "p50_ms": p50_ms} | other


def evaluation(precision: str | None, level: str | None = "fast") -> dict[str, Any]:
    return {
        "scorer": "a",
        "level": level,
        "precision": precision,
        "all_layers": None if level is None else 0.0,
        "pairs_per_second": 50.0,
        "all": {"auc_es": FIGURE, "at_2pct": {"defects_removed": FIGURE}},
    }


ROWS = {
    "rows": [
        row("int8", 500),
        row("bf16", 900),
        row("bf16", 90, products=10),
        row("bf16", 3600, concurrency=4),
    ]
}


@pytest.mark.parametrize(("precision", "ms"), [("int8", 500), ("bf16", 900)])
def test_quality_and_time_are_of_one_precision(precision: str, ms: float) -> None:
    (found,) = points(ROWS, [evaluation(precision)])
    assert (found.name, found.ms) == ("fast", ms)


def test_a_precision_that_was_not_timed_is_refused() -> None:
    with pytest.raises(SystemExit, match="no row of csrm-fast in fp32"):
        points(ROWS, [evaluation("fp32")])


def test_what_is_no_level_has_the_time_of_its_evaluation() -> None:
    (found,) = points(ROWS, [evaluation(None, level=None)])
    assert (found.name, found.ms) == ("a", 2_000)
    assert len(plot([found]).axes) == 2
