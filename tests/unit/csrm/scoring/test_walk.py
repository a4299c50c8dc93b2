"""The walk against a clock: what is judged before the time is up, in which order, and what a pace is worth."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csrm.errors import DeadlineExceededError
from csrm.scoring.engine import CACHED_PREFIXES, Engine
from csrm.scoring.pace import BATCH_TOKENS, Clock, Pace
from csrm.scoring.walk import NEIGHBOURS, through, walk


class SlowEngine(Engine[int]):
    """Answers with each product's first token; a token takes ``seconds`` in each of its four layers."""

    name = "slow"
    layers = 4
    answers = 2

    def __init__(self, seconds: float = 0.0, exit_layer: int | None = None) -> None:
        super().__init__(torch.device("cpu"))
        self.seconds = seconds
        self.exit_layer = exit_layer
        self.order: list[int] = []
        self.prefixes: list[int] = []

    def _take(self, token_layers: int) -> None:
        if self.seconds:  # no sleep of nothing: it lets every other process have its turn
            time.sleep(self.seconds * token_layers)

    def _run_prefix(self, ids: Tensor) -> int:
        self.prefixes.append(int(ids[0, 0]))
        return 0

    def _run_products(self, state: int, ids: Tensor, last: Tensor) -> Tensor:
        self._take(ids.numel() * self.layers)
        self.order += ids[:, 0].tolist()
        return ids[:, :1].float().expand(-1, 2)

    def _run_first(self, state: int, ids: Tensor, last: Tensor, keep: bool) -> tuple[Tensor, Any]:
        self._take(ids.numel() * (self.exit_layer or 0))
        return ids[:, :1].float().expand(-1, 4), ids[..., None].float()

    def _run_rest(self, state: int, residual: Tensor, last: Tensor) -> Tensor:
        self._take(residual[..., 0].numel() * (self.layers - (self.exit_layer or 0)))
        self.order += residual[:, 0, 0].int().tolist()
        return residual[:, :1, 0].expand(-1, 2)


def products(count: int, tokens: int = 16) -> list[list[int]]:
    return [[row] * tokens for row in range(count)]


def in_time(seconds: float, engine: SlowEngine, *, partial: bool = True) -> Clock:
    return Clock(engine.pace, time.monotonic() + seconds, partial)


@pytest.mark.parametrize("known", [False, True])
def test_a_partial_walk_ends_in_time_with_the_first_products(known: bool) -> None:
    engine = SlowEngine(seconds=1e-5)  # 16 tokens, four layers: 0.64 ms a product, 41 ms a batch
    if known:
        through(walk(engine, [1], products(64)))
    began = time.monotonic()
    found = through(walk(engine, [1], products(1_000), clock=in_time(0.25, engine)))
    took = time.monotonic() - began
    judged = np.flatnonzero(~np.isnan(found.full[:, 0]))
    assert 0 < len(judged) < 1_000
    assert took < 0.35
    assert judged.max() < len(judged) + NEIGHBOURS, "no later product before an earlier one, by and large"
    assert (found.full[judged, 0] == judged).all()


def test_first_layers_come_before_any_later_ones() -> None:
    engine = SlowEngine(seconds=1e-5, exit_layer=1)  # 192 ms through the first layer, 576 ms through the rest
    through(walk(engine, [1], products(64)))
    found = through(
        walk(
            engine,
            [1],
            products(1_200),
            early=range(1_200),
            go_on=lambda early: range(1_200),
            clock=in_time(0.6, engine),
        )
    )
    assert not np.isnan(found.early).any()
    deep = np.flatnonzero(~np.isnan(found.full[:, 0]))
    assert 0 < len(deep) < 1_200
    assert deep.max() < len(deep) + NEIGHBOURS


def test_a_machine_that_slows_down_makes_nothing_late() -> None:
    engine = SlowEngine(seconds=5e-5)  # 0.2 s a batch
    through(walk(engine, [1], products(64)))
    engine.seconds *= 1.4
    began = time.monotonic()
    found = through(walk(engine, [1], products(1_000), clock=in_time(1.0, engine)))
    assert time.monotonic() - began < 1.06
    judged = np.flatnonzero(~np.isnan(found.full[:, 0]))
    assert len(judged) * 16 * 4 * engine.seconds > 0.5, "half of the time at least is used"


def test_without_partial_it_is_all_or_nothing() -> None:
    engine = SlowEngine(seconds=1e-6)
    with pytest.raises(DeadlineExceededError):
        through(walk(engine, [1], products(1_000), clock=in_time(0.03, engine, partial=False)))
    whole = through(walk(engine, [1], products(100), clock=in_time(10, engine, partial=False)))
    assert not np.isnan(whole.full).any()


def test_a_deadline_that_has_passed_judges_nothing() -> None:
    engine = SlowEngine()
    found = through(walk(engine, [1], products(5), clock=in_time(-1, engine)))
    assert np.isnan(found.full).all() and not engine.order


def test_where_time_is_ample_the_longest_come_together() -> None:
    engine = SlowEngine()
    through(walk(engine, [1], products(64)))
    engine.order.clear()
    lengths = [4 if row % 2 else 30 for row in range(200)]
    through(walk(engine, [1], [[row] * n for row, n in enumerate(lengths)], clock=in_time(60, engine)))
    assert [lengths[row] for row in engine.order] == sorted(lengths, reverse=True)


def test_a_pace_that_was_too_slow_is_soon_corrected() -> None:
    """After a start in cold memory, say. Nothing but running it tells."""
    engine = SlowEngine(seconds=1e-6)
    engine.pace.learn(BATCH_TOKENS, 4, 20.0)
    found = through(walk(engine, [1], products(500), clock=in_time(0.5, engine)))
    assert not np.isnan(found.full).any()


def test_a_walk_pauses_after_every_batch() -> None:
    engine = SlowEngine(exit_layer=1)
    steps = walk(engine, [1], products(128), early=range(128), go_on=lambda early: range(64))
    assert sum(1 for _ in steps) == 4  # the prefix, two batches of first layers, one of the later ones


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=300),
    chosen=st.sets(st.integers(0, 299)),
    early=st.sets(st.integers(0, 299)),
)
def test_every_product_that_was_asked_for_is_judged_once(
    lengths: list[int], chosen: set[int], early: set[int]
) -> None:
    engine = SlowEngine(exit_layer=1)
    rows = [[row + 1] * n for row, n in enumerate(lengths)]
    chosen, early = ({row for row in some if row < len(rows)} for some in (chosen, early))
    found = through(walk(engine, [1], rows, early=sorted(early), go_on=lambda logits: sorted(chosen)))
    assert sorted(engine.order) == [row + 1 for row in sorted(chosen)]
    assert set(np.flatnonzero(~np.isnan(found.full[:, 0]))) == chosen
    assert early <= set(np.flatnonzero(~np.isnan(found.early[:, 0]))) <= early | chosen


def test_the_later_batches_count_most_and_small_ones_little() -> None:
    pace = Pace()
    assert pace.seconds(1_000, 4) == 0.0
    pace.learn(BATCH_TOKENS, 1, 1.0)
    assert pace.seconds(BATCH_TOKENS, 2) == pytest.approx(2.0)
    pace.learn(BATCH_TOKENS, 1, 3.0)
    assert pace.seconds(BATCH_TOKENS, 1) == pytest.approx(2.0)
    before = pace.seconds(BATCH_TOKENS, 1)
    pace.learn(1, 1, 1.0)
    assert pace.seconds(BATCH_TOKENS, 1) == pytest.approx(before, rel=0.01)


def test_a_prefix_is_run_once_while_it_is_among_the_last_that_were_asked() -> None:
    engine = SlowEngine()
    for query in range(CACHED_PREFIXES):
        engine.prefix([query])
    engine.prefix([0])  # the next page of the first query
    assert engine.prefixes == list(range(CACHED_PREFIXES))
    engine.prefix([1_000])
    engine.prefix([0])
    assert engine.prefixes[CACHED_PREFIXES:] == [1_000], "it was asked again and stays"
    engine.prefix([1])
    assert engine.prefixes[CACHED_PREFIXES:] == [1_000, 1], "the one that nobody asked for longest went"


def test_torch_is_left_as_it_was() -> None:
    """A paused walk must not leave the thread in inference mode."""
    steps = walk(SlowEngine(), [1], products(500))
    next(steps)
    next(steps)
    assert not torch.is_inference_mode_enabled()
