"""Settings from a table of figures."""

from __future__ import annotations

import pytest

from csrm.benchmark.advice import advise
from csrm.benchmark.row import Row


def row(scorer: str, products: int, p50_ms: float, precision: str = "bf16", concurrency: int = 1) -> Row:
    return Row(
        scorer=scorer,
        precision=precision,
        products=products,
        concurrency=concurrency,
        products_per_s=products / p50_ms * 1e3,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        percent_of_peak=50,
        kendall_vs_fp32=1,
    )


ROWS = [
    row("csrm-full", 10, 200),
    row("csrm-full", 100, 1_100),
    row("csrm-full", 10, 400, precision="fp32"),
    row("csrm-full", 100, 3_000, precision="fp32"),
    row("csrm-full", 100, 9_000, concurrency=4),
    row("csrm-fast", 10, 50),
    row("csrm-fast", 100, 250),
    row("transformers", 100, 1, precision="fp32"),
]


@pytest.mark.parametrize(
    ("budget_ms", "full", "fast"),
    [(100, 0, 32), (200, 10, 77), (300, 20, 100), (650, 55, 100), (9_999, 100, 100)],
)
def test_the_window_is_what_fits_into_the_budget(budget_ms: float, full: int, fast: int) -> None:
    advice = advise(ROWS, {2: 100.0, 1: 50.0}, cores=2, budget_ms=budget_ms, on_gpu=False)
    assert advice.precision == "bf16"
    assert advice.windows == {"csrm-full": full, "csrm-fast": fast}


@pytest.mark.parametrize(
    ("scaling", "threads", "replicas"),
    [
        ({1: 55.0, 2: 100.0}, 2, 1),  # two replicas of one thread bring little more, for slower queries
        ({1: 60.0, 2: 100.0}, 1, 2),
        ({1: 15.0, 4: 120.0, 8: 160.0}, 4, 2),
    ],
)
def test_more_replicas_have_to_be_worth_it(scaling: dict[int, float], threads: int, replicas: int) -> None:
    advice = advise(ROWS, scaling, cores=max(scaling), budget_ms=300, on_gpu=False)
    assert (advice.threads, advice.replicas) == (threads, replicas)
    assert f"--threads {threads} --replicas {replicas}" in advice.sentences()[0]


def test_fewer_threads_leave_a_smaller_window() -> None:
    """The rows were measured with two threads; with one, everything takes 100/60 times as long."""
    advice = advise(ROWS, {1: 60.0, 2: 100.0}, cores=2, budget_ms=500, on_gpu=False)
    assert advice.threads == 1
    assert advice.windows == {"csrm-full": 20, "csrm-fast": 100}


def test_a_level_that_was_measured_further_than_the_others_decides_nothing() -> None:
    rows = [row("csrm-full", 10, 200), row("csrm-fast", 1_000, 900)]
    assert advise(rows, {1: 50.0}, cores=1, budget_ms=300, on_gpu=False).windows == {
        "csrm-full": 10,
        "csrm-fast": 0,
    }


def test_a_gpu_has_one_replica() -> None:
    advice = advise(ROWS, {}, cores=16, budget_ms=300, on_gpu=True)
    assert (advice.threads, advice.replicas) == (16, 1)


@pytest.mark.parametrize(("products", "said"), [((10, 100), "fewer than 10"), ((100,), "fewer than 100")])
def test_what_was_not_measured_is_not_said(products: tuple[int, ...], said: str) -> None:
    rows = [row("csrm-full", count, 1_000 + count) for count in products]
    advice = advise(rows, {2: 100.0}, cores=2, budget_ms=300, on_gpu=False)
    assert advice.sentences()[-1].endswith(f" {said}")
