"""Engines against the plain model: same logits, whatever is shared, batched or padded."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from csrm.errors import DeadlineExceededError
from csrm.scoring.batching import batches
from csrm.scoring.engine import NotFiniteError
from csrm.scoring.lean import LeanGemma3Engine
from csrm.scoring.library import LibraryEngine
from csrm.scoring.pace import Clock, Pace
from csrm.scoring.walk import label_logits, through, walk

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [60, 70, 80], [33, 44]]


def plain(base: Path) -> np.ndarray:
    """Logits without any sharing: one whole row at a time."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.inference_mode():
        rows = [model(torch.tensor([PREFIX + p])).logits[0, -1, list(LABELS)] for p in PRODUCTS]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("kind", ["gemma3", "qwen3", "qwen2", "llama"])
def test_library_engine_gives_the_plain_logits(kind: str, tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases[kind], dtype=torch.float32).eval()
    assert label_logits(LibraryEngine(model, LABELS), PREFIX, PRODUCTS) == pytest.approx(
        plain(tiny_bases[kind]), abs=1e-4
    )


def test_lean_engine_gives_the_plain_logits(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    engine = LeanGemma3Engine(model, LABELS, torch.float32)
    assert label_logits(engine, PREFIX, PRODUCTS) == pytest.approx(plain(tiny_bases["gemma3"]), abs=1e-4)
    assert label_logits(engine, PREFIX, PRODUCTS[:1]) == pytest.approx(
        plain(tiny_bases["gemma3"])[:1], abs=1e-4
    )


def test_lean_engine_says_what_it_does_not_support(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["llama"])
    assert not LeanGemma3Engine.supports(model.config)


@pytest.fixture
def engine(tiny_bases: dict[str, Path]) -> LibraryEngine:
    return LibraryEngine(AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"]).eval(), LABELS)


def test_a_passed_deadline_stops_the_work(engine: LibraryEngine) -> None:
    with pytest.raises(DeadlineExceededError):
        through(walk(engine, PREFIX, PRODUCTS, clock=Clock(Pace(), time.monotonic() - 1)))


def test_broken_weights_are_named(engine: LibraryEngine) -> None:
    with torch.no_grad():
        engine.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        label_logits(engine, PREFIX, PRODUCTS)


def test_timings_are_filled(engine: LibraryEngine) -> None:
    timings: dict[str, float] = {}
    through(walk(engine, PREFIX, PRODUCTS, timings=timings))
    assert set(timings) == {"prefix", "products"}


@given(st.lists(st.integers(1, 400)), st.integers(1, 2000), st.none() | st.integers(1, 20))
def test_batches_hold_every_row_once_within_the_budget(
    lengths: list[int], budget: int, within: int | None
) -> None:
    cut = list(batches(lengths, budget, within=within))
    assert sorted(i for rows in cut for i in rows) == list(range(len(lengths)))
    for rows in cut:
        assert len(rows) == 1 or len(rows) * max(lengths[i] for i in rows) <= budget
    if within is not None:
        neighbours = [i // within for rows in cut for i in rows]
        assert neighbours == sorted(neighbours), "the order holds by and large"
