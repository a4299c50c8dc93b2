"""The walk over a query's products: in which batches, how deep, and until when.

    early judgment of those never seen  ->  who goes on?  ->  all layers of those, in their order

What is early is said by the engine's first layers or, before them, by its cross-encoder; where the cross-encoder does
not judge early, it does so beside the last layers.

Knows engines by their interface, lengths and clocks; knows no architecture, no prompt and no calibration. A walk is
a generator that pauses after the prefix and after every batch, so that several queries can take turns on one engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from csrm.encoder.cross_encoder import CrossEncoder
from csrm.prompt import GRADES
from csrm.scoring.batching import batches
from csrm.scoring.engine import Engine, Logits
from csrm.scoring.pace import Clock, Pace, Together

T = TypeVar("T")
Steps = Generator[float, None, T]
"""Work in parts of one batch each; its value is the result. A pause says how many seconds are left at the least, by the
engine's pace."""

NEIGHBOURS = 64
"""Where time may run out, products are brought together by length only within so many neighbours."""


@dataclass(slots=True)
class Walked:
    """What a walk found; rows that were not run are NaN. ``beside`` is the cross-encoder's, where it is not first."""

    early: Logits
    full: Logits
    beside: Logits


def walk(
    engine: Engine[Any],
    prefix: Sequence[int],
    products: Sequence[Sequence[int]],
    *,
    pairs: Sequence[Sequence[int]] = (),
    early: Sequence[int] = (),
    go_on: Callable[[Logits], Sequence[int]] | None = None,
    keep: bool = True,
    clock: Clock | None = None,
    timings: dict[str, float] | None = None,
) -> Steps[Walked]:
    """Judge products early, and run those that are to go on through all layers.

    Args:
        engine: with an early exit where ``early`` names any.
        prefix: token ids of the query's part.
        products: token ids of each product, suffix included, the most important first.
        pairs: token ids of the query with each product, where there is a cross-encoder.
        early: products that are judged early, before any other goes on.
        go_on: from the early logits (n, 4), NaN where none were run, to the products that all layers are run for,
            the most important first; all products where null.
        keep: whether products of ``early`` may go on, so that their residuals must be kept.
        clock: the time there is; all the time in the world where null.
        timings: filled with milliseconds of ``prefix``, ``products`` and, as a part of these, ``early``.

    Raises:
        DeadlineExceededError: the deadline passed, and a partial answer is not wanted; checked before every batch.
        NotFiniteError: a logit is not a finite number.
    """
    clock = clock or Clock(engine.pace)
    spent = {"prefix": 0.0, "early": 0.0, "later": 0.0}
    n = len(products)
    found = Walked(_unknown(n, len(GRADES)), _unknown(n, engine.answers), _unknown(n, len(GRADES)))
    lengths, pair_lengths = [len(ids) for ids in products], [len(ids) for ids in pairs]
    residuals: dict[int, Tensor] = {}
    first, pace, early_lengths = engine.exit_layer or 0, engine.pace, lengths
    if engine.first is not None:
        first, pace, early_lengths = engine.first.layers, engine.first.pace, pair_lengths
    early_clock = replace(clock, pace=pace)

    def run_prefix() -> Any:
        started = time.perf_counter()
        state = engine.prefix(prefix)
        spent["prefix"] = time.perf_counter() - started
        return state

    state = run_prefix() if engine.first is None else None
    left = sum(early_lengths[row] for row in early)
    yield pace.seconds(left, first) if left else engine.pace.seconds(sum(lengths), engine.layers)

    def run_first(rows: Sequence[int], keep: bool) -> None:
        if engine.first is not None:
            found.early[rows] = engine.beside([pairs[i] for i in rows])
            return
        found.early[rows], kept = engine.early(state, [products[i] for i in rows], keep=keep)
        residuals.update(zip(rows, kept, strict=keep))

    for rows in _in_time(early, early_lengths, first, early_clock, engine.batch_tokens):
        started = time.perf_counter()
        run_first(rows, keep)
        seconds = time.perf_counter() - started
        pace.learn(_tokens(rows, early_lengths), first, seconds)
        spent["early"] += seconds
        left -= sum(early_lengths[row] for row in rows)
        yield pace.seconds(left, first)

    def run_beside(rows: Sequence[int], encoder: CrossEncoder) -> None:
        for places in batches([pair_lengths[row] for row in rows], engine.batch_tokens):
            started = time.perf_counter()
            some = [rows[place] for place in places]
            found.beside[some] = engine.beside([pairs[row] for row in some])
            encoder.pace.learn(_tokens(some, pair_lengths), encoder.layers, time.perf_counter() - started)

    chosen = range(len(products)) if go_on is None else go_on(found.early)
    if engine.first is not None and len(chosen):
        state = run_prefix()  # a cross-encoder does without
    begun = sum(row in residuals for row in chosen)
    layers = engine.layers - (first if begun * 2 > len(chosen) else 0)
    left = sum(lengths[row] for row in chosen)
    beside = engine.encoder if engine.first is None else None
    later: Pace | Together = engine.pace
    if beside is not None and left:
        ratio = sum(pair_lengths[row] for row in chosen) / left
        later = Together(engine.pace, beside.pace, ratio, beside.layers)
    clock = replace(clock, pace=later, began=early_clock.began)
    for rows in _in_time(chosen, lengths, layers, clock, engine.batch_tokens):
        started = time.perf_counter()
        if residuals.keys().isdisjoint(rows):
            found.full[rows] = engine.full(state, [products[i] for i in rows])
        else:
            if missing := [row for row in rows if row not in residuals]:
                run_first(missing, True)
            found.full[rows] = engine.rest(state, [residuals.pop(row) for row in rows])
        seconds = time.perf_counter() - started
        engine.pace.learn(_tokens(rows, lengths), layers, seconds)
        if beside is not None:
            run_beside(rows, beside)
        spent["later"] += time.perf_counter() - started
        left -= sum(lengths[row] for row in rows)
        yield later.seconds(left, layers)

    if timings is not None:
        timings["prefix"] = spent["prefix"] * 1e3
        timings["products"] = (spent["early"] + spent["later"]) * 1e3
        if len(early):
            timings["early"] = spent["early"] * 1e3
    return found


def through(steps: Steps[T]) -> T:
    """The result of some work, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def label_logits(engine: Engine[Any], prefix: Sequence[int], products: Sequence[Sequence[int]]) -> Logits:
    """Logits (n, answers) of all products through all layers."""
    return through(walk(engine, prefix, products)).full


def _in_time(
    rows: Sequence[int], lengths: Sequence[int], layers: int, clock: Clock, budget: int
) -> Iterator[list[int]]:
    """Batches of rows as long as there is time for them; a batch is cut short where not all of it fits."""
    chosen = [lengths[row] for row in rows]
    within = None if clock.ample(sum(chosen), layers) else NEIGHBOURS
    for batch in batches(chosen, budget, within=within):
        while batch:
            if not (fits := clock.fitting([chosen[i] for i in batch], layers)):
                return
            yield [rows[i] for i in batch[:fits]]
            batch = batch[fits:]


def _tokens(rows: Sequence[int], lengths: Sequence[int]) -> int:
    return len(rows) * max(lengths[row] for row in rows)


def _unknown(n: int, answers: int) -> Logits:
    return np.full((n, answers), np.nan, dtype=np.float32)
