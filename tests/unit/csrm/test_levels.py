"""Levels of a model with an early exit: who goes through all layers, what is remembered, and what a deadline leaves."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csrm.errors import BundleError, DeadlineExceededError
from csrm.model import RelevanceModel

PRODUCTS = [
    f"{colour} {thing}" for colour in ("red", "blue", "black") for thing in ("case", "phone", "glue", "pan")
]
RULE = {"below": 0.4, "above": 0.4, "page": 2}


def bundle(folder: Path, base: Path, rule: dict[str, float] | None = None) -> Path:
    torch.manual_seed(5)
    save_file({"norm": 1 + torch.rand(32), "rows": torch.randn(4, 32)}, folder / "exit.safetensors")
    early = {"layer": 1, "calibration": {"slope": 0.8, "offset": 0.1}, "threshold": 0.8, "rule": rule or RULE}
    manifest = {"name": "tiny", "version": 1, "base": str(base), "threshold": 0.5, "exit": early}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def model(tmp_path: Path, tiny_bases: dict[str, Path]) -> RelevanceModel:
    return RelevanceModel.load(bundle(tmp_path, tiny_bases["gemma3"]), precision="fp32", cache_mb=1)


@pytest.fixture
def forgetful(tmp_path: Path, tiny_bases: dict[str, Path]) -> RelevanceModel:
    return RelevanceModel.load(bundle(tmp_path, tiny_bases["gemma3"]), precision="fp32")


def test_each_level_goes_as_deep_as_it_says(forgetful: RelevanceModel) -> None:
    fast, balanced, full = (
        forgetful.judge("case", PRODUCTS, level=level) for level in ("fast", "balanced", "full")
    )
    assert (fast.level, fast.all_layers, fast.threshold) == ("fast", 0, 0.8)
    assert (full.level, full.all_layers, full.threshold) == ("full", 12, 0.5)
    assert 2 <= balanced.all_layers < 12
    assert forgetful.judge("case", PRODUCTS).level == "balanced", "of itself, where there is an exit"


def test_balanced_is_full_for_the_unsure_and_fast_for_the_others(forgetful: RelevanceModel) -> None:
    fast, balanced, full = (
        forgetful.judge("case", PRODUCTS, level=level).results for level in ("fast", "balanced", "full")
    )
    early = np.array([one.irrelevance for one in fast])
    scores = np.array([one.score for one in fast])
    exit_settings = forgetful.bundle.manifest.exit
    assert exit_settings is not None
    went_on = exit_settings.rule.goes_on(early, scores, 0.5)
    assert 0 < went_on.sum() < len(PRODUCTS)
    for one, shallow, deep, on in zip(balanced, fast, full, went_on, strict=True):
        same = deep if on else shallow
        assert one.irrelevance == pytest.approx(same.irrelevance, abs=1e-5)
        assert one.score == pytest.approx(same.score, abs=1e-5)
        assert one.decision == ("remove" if one.irrelevance > 0.5 else "keep")


def test_full_grades_serve_every_level_and_early_ones_only_theirs(model: RelevanceModel) -> None:
    fast = model.judge("case", PRODUCTS, level="fast")
    balanced = model.judge("case", PRODUCTS, level="balanced")
    full = model.judge("case", PRODUCTS, level="full")
    assert fast.all_layers == 0 < balanced.all_layers < full.all_layers == 12
    timings: dict[str, float] = {}
    after = model.judge("case", PRODUCTS, level="fast", timings=timings)
    assert (after.level, after.all_layers) == ("fast", 12)
    assert set(timings) == {"cache"}


def test_a_repeat_computes_nothing_and_says_the_same(model: RelevanceModel) -> None:
    for level in ("fast", "balanced", "full"):
        first = model.judge("phone", PRODUCTS, level=level)
        timings: dict[str, float] = {}
        assert model.judge("phone", PRODUCTS, level=level, timings=timings) == first
        assert set(timings) == {"cache"}


def test_what_is_remembered_does_not_change_who_goes_on(
    model: RelevanceModel, forgetful: RelevanceModel
) -> None:
    model.judge("case", PRODUCTS[:5], level="balanced")
    model.judge("case", PRODUCTS[3:8], level="fast")
    warm, cold = (one.judge("case", PRODUCTS, level="balanced") for one in (model, forgetful))
    for a, b in zip(warm.results, cold.results, strict=True):
        if a.irrelevance != pytest.approx(b.irrelevance, abs=1e-5):
            assert a.index < 5, "only for being a contender among fewer may a product have gone deeper"


def test_without_an_exit_there_is_one_level(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    bundle(tmp_path, tiny_bases["qwen3"])
    model = RelevanceModel.load(tmp_path, precision="fp32")
    judged = model.judge("case", PRODUCTS, level="fast")
    assert (judged.level, judged.all_layers, judged.threshold) == ("full", 12, 0.5)


def test_a_missing_head_is_named(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    bundle(tmp_path, tiny_bases["gemma3"])
    (tmp_path / "exit.safetensors").unlink()
    with pytest.raises(BundleError, match=r"exit\.safetensors"):
        RelevanceModel.load(tmp_path, precision="fp32")


def slowed(model: RelevanceModel, seconds: float = 2e-4) -> float:
    """Let a token take its time in each of the three layers, one of them before the exit; says how long all take."""
    engine = model._engine

    def slow(run: Callable[..., object], layers: int) -> Callable[..., object]:
        def wrapped(state: object, rows: torch.Tensor, *others: object) -> object:
            time.sleep(seconds * rows.shape[0] * rows.shape[1] * layers)
            return run(state, rows, *others)

        return wrapped

    engine._run_first = slow(engine._run_first, 1)
    engine._run_rest = slow(engine._run_rest, 2)
    engine._run_products = slow(engine._run_products, 3)
    began = time.monotonic()
    model.judge("warm", MANY, level="full")
    return time.monotonic() - began


MANY = [f"{product} {number}" for number in range(12) for product in PRODUCTS]
"""About 3,600 tokens."""


def test_at_the_deadline_the_rest_has_early_grades_and_has_to_be_surer(forgetful: RelevanceModel) -> None:
    all_s = slowed(forgetful)
    judged = forgetful.judge(
        "case", MANY, level="full", deadline=time.monotonic() + 0.7 * all_s, partial=True
    )
    assert len(judged.results) == len(MANY), "each has at least what the first layers say"
    assert 0 < judged.all_layers < len(MANY)
    assert judged.threshold == 0.5
    spared = [one for one in judged.results if 0.5 < one.irrelevance <= 0.8 and one.decision == "keep"]
    assert len(spared) <= len(MANY) - judged.all_layers
    assert all(one.decision == "remove" for one in judged.results if one.irrelevance > 0.8)
    with pytest.raises(DeadlineExceededError):
        forgetful.judge("case", MANY, level="full", deadline=time.monotonic() + 0.1 * all_s)


def test_a_deadline_before_the_first_product_is_late(model: RelevanceModel) -> None:
    with pytest.raises(DeadlineExceededError, match="single product"):
        model.judge("case", PRODUCTS, deadline=time.monotonic() - 1, partial=True)


def test_a_partial_answer_of_a_model_without_exit_misses_the_last_products(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    shutil.copytree(bundle(tmp_path, tiny_bases["gemma3"]), tmp_path / "plain", dirs_exist_ok=True)
    manifest = json.loads((tmp_path / "bundle.json").read_text())
    del manifest["exit"]
    (tmp_path / "plain" / "bundle.json").write_text(json.dumps(manifest))
    model = RelevanceModel.load(tmp_path / "plain", precision="fp32")
    deadline = time.monotonic() + slowed(model) * 1.5
    judged = model.judge("case", MANY, deadline=deadline, partial=True)
    assert judged.level == "full"
    assert 0 < len(judged.results) == judged.all_layers < len(MANY)
    places = [one.index for one in judged.results]
    assert places == sorted(places) and places[-1] < len(places) + 64
