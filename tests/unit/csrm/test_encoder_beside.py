"""A model with an early exit after some layers, and a cross-encoder whose word counts in the end."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csrm.bundle import load_bundle
from csrm.errors import BundleError
from csrm.model import RelevanceModel, mixed

PRODUCTS = [
    f"{colour} {thing}" for colour in ("red", "blue", "black") for thing in ("case", "phone", "glue", "pan")
]
WEIGHT = 0.4
EARLY = {"layer": 2, "threshold": 0.8, "rule": {"below": 0.02, "above": 0.02, "page": 2}}


def written(folder: Path, **parts: object) -> Path:
    manifest = json.loads((folder / "bundle.json").read_text()) | parts
    (folder / "bundle.json").write_text(json.dumps({key: part for key, part in manifest.items() if part}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bases: dict[str, Path], tiny_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(5)
    save_file({"norm": 1 + torch.rand(32), "rows": torch.randn(4, 32)}, folder / "exit.safetensors")
    shutil.copy(tiny_encoder, folder / "encoder.safetensors")
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"]), "threshold": 0.5}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return written(folder, exit=EARLY, encoder={"weight": WEIGHT})


def without(folder: Path, to: Path, **parts: object) -> RelevanceModel:
    """The same bundle with other parts."""
    shutil.copytree(folder, to)
    return RelevanceModel.load(written(to, **parts), precision="fp32")


@pytest.fixture(scope="module")
def model(folder: Path) -> RelevanceModel:
    return RelevanceModel.load(folder, precision="fp32")


def test_the_last_word_is_of_both_and_the_first_of_the_exit(
    model: RelevanceModel, folder: Path, tmp_path: Path
) -> None:
    encoder = model.encoder
    assert encoder is not None
    said = encoder.logits(encoder.encode("case", PRODUCTS)).softmax(-1).numpy()
    alone = without(folder, tmp_path / "alone", encoder=None)
    expected = mixed(alone.grade("case", PRODUCTS), said, WEIGHT)
    assert model.grade("case", PRODUCTS) == pytest.approx(expected, abs=1e-4)
    assert np.abs(expected - alone.grade("case", PRODUCTS)).max() > 0.01
    fast = model.grade("case", PRODUCTS, level="fast")
    assert fast == pytest.approx(alone.grade("case", PRODUCTS, level="fast"), abs=1e-5)


def test_without_an_exit_the_encoder_counts_all_the_same(
    model: RelevanceModel, folder: Path, tmp_path: Path
) -> None:
    whole = without(folder, tmp_path / "whole", exit=None)
    assert whole.level() == "full"
    assert whole.grade("case", PRODUCTS) == pytest.approx(model.grade("case", PRODUCTS), abs=1e-4)


def test_balanced_asks_both_of_the_unsure(model: RelevanceModel) -> None:
    fast, balanced, full = (
        model.judge("case", PRODUCTS, level=level) for level in ("fast", "balanced", "full")
    )
    assert 2 <= balanced.all_layers < 12
    went_on = 0
    for one, shallow, deep in zip(balanced.results, fast.results, full.results, strict=True):
        close = [abs(one.irrelevance - other.irrelevance) < 1e-4 for other in (shallow, deep)]
        assert any(close)
        went_on += close[1] and not close[0]
    assert went_on == balanced.all_layers


def test_the_encoder_runs_for_those_who_go_on_only(model: RelevanceModel) -> None:
    encoder = model.encoder
    assert encoder is not None
    seen = 0
    run = encoder.logits

    def counted(pairs: list[list[int]]) -> torch.Tensor:
        nonlocal seen
        seen += len(pairs)
        return run(pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "logits", counted)
        model.judge("case", PRODUCTS, level="fast")
        assert seen == 0
        judged = model.judge("case", PRODUCTS, level="balanced")
        assert seen == judged.all_layers


def test_a_repeat_computes_nothing_and_says_the_same(folder: Path) -> None:
    warm = RelevanceModel.load(folder, precision="fp32", cache_mb=1)
    for level in ("fast", "balanced", "full"):
        first = warm.judge("phone", PRODUCTS, level=level)
        timings: dict[str, float] = {}
        assert warm.judge("phone", PRODUCTS, level=level, timings=timings) == first
        assert set(timings) == {"cache"}


def test_its_time_is_reckoned_with_at_the_deadline(folder: Path) -> None:
    many = [f"{product} {number}" for number in range(8) for product in PRODUCTS]
    model = RelevanceModel.load(folder, precision="fp32")
    encoder = model.encoder
    assert encoder is not None
    run = encoder.logits

    def slow(pairs: list[list[int]]) -> torch.Tensor:
        time.sleep(0.1 * len(pairs))
        return run(pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "logits", slow)
        model.judge("warm", many[:24], level="full")  # teaches the pace: 2.4 s
        began = time.monotonic()
        judged = model.judge("case", many, level="full", deadline=began + 3, partial=True)
        assert time.monotonic() < began + 4  # 3 where nothing else runs; 4.8 if its time were forgotten
    assert 0 < judged.all_layers < len(many)


def test_an_encoder_without_a_weight_is_not_run(folder: Path, tmp_path: Path) -> None:
    silent = without(folder, tmp_path / "silent", encoder={"weight": 0})
    alone = without(folder, tmp_path / "alone", encoder=None)
    assert silent.encoder is None
    assert silent.grade("case", PRODUCTS) == pytest.approx(alone.grade("case", PRODUCTS), abs=1e-6)


def test_an_encoder_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    (tmp_path / "bundle" / "encoder.safetensors").unlink()
    with pytest.raises(BundleError, match=r"encoder\.safetensors"):
        RelevanceModel.load(tmp_path / "bundle", precision="fp32")


def test_a_first_judge_that_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    written(tmp_path / "bundle", exit={"layer": 0}, encoder=None)
    with pytest.raises(BundleError, match=r"exit\.layer is 0"):
        load_bundle(tmp_path / "bundle")
