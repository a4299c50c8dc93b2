"""Levels of a model with a cross-encoder: it judges first, and in the end its word counts beside the other's."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from csrm.bundle import Bundle, load_bundle
from csrm.errors import BundleError
from csrm.model import RelevanceModel, mixed
from csrm.scoring.engine import NotFiniteError

PRODUCTS = [
    f"{colour} {thing}" for colour in ("red", "blue", "black") for thing in ("case", "phone", "glue", "pan")
]
WEIGHT = 0.4


def bundle(folder: Path, base: Path, encoder: Path, weight: float = WEIGHT) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(encoder, folder / "encoder.safetensors")
    early = {
        "layer": 0,
        "calibration": {"slope": 0.8, "offset": 0.1},
        "threshold": 0.8,
        "rule": {"below": 0.4, "above": 0.4, "page": 2},
    }
    manifest = {"name": "tiny", "version": 1, "base": str(base), "threshold": 0.5}
    manifest |= {"exit": early, "encoder": {"weight": weight}}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module", params=["gemma3", "qwen3"])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_bases: dict[str, Path],
    tiny_encoder: Path,
) -> Path:
    return bundle(tmp_path_factory.mktemp("bundle"), tiny_bases[request.param], tiny_encoder)


@pytest.fixture(scope="module")
def model(folder: Path) -> RelevanceModel:
    return RelevanceModel.load(folder, precision="fp32")


def remembering(model: RelevanceModel, folder: Path) -> RelevanceModel:
    """The same with a cache that is still empty."""
    return RelevanceModel.load(folder, precision="fp32", cache_mb=1)


def alone(folder: Path, to: Path) -> np.ndarray:
    """Grades of the language model without the encoder."""
    shutil.copytree(folder, to)
    manifest = json.loads((to / "bundle.json").read_text())
    del manifest["exit"], manifest["encoder"]
    (to / "bundle.json").write_text(json.dumps(manifest))
    return RelevanceModel.load(to, precision="fp32").grade("case", PRODUCTS)


def test_the_last_word_is_of_both(model: RelevanceModel, folder: Path, tmp_path: Path) -> None:
    fast, full = (model.grade("case", PRODUCTS, level=level) for level in ("fast", "full"))
    expected = mixed(alone(folder, tmp_path / "alone"), fast, WEIGHT)
    assert full == pytest.approx(expected, abs=1e-4)
    assert np.abs(full - fast).max() > 0.01
    assert full.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_first_word_is_the_encoders_alone(model: RelevanceModel) -> None:
    encoder = model.encoder
    assert encoder is not None
    expected = encoder.logits(encoder.encode("case", PRODUCTS)).softmax(-1).numpy()
    assert model.grade("case", PRODUCTS, level="fast") == pytest.approx(expected, abs=1e-5)


def test_balanced_asks_the_language_model_of_the_unsure(model: RelevanceModel) -> None:
    fast, balanced, full = (
        model.judge("case", PRODUCTS, level=level) for level in ("fast", "balanced", "full")
    )
    assert (fast.level, fast.all_layers, fast.threshold) == ("fast", 0, 0.8)
    assert (full.level, full.all_layers, full.threshold) == ("full", 12, 0.5)
    assert 2 <= balanced.all_layers < 12
    assert model.judge("case", PRODUCTS).level == "balanced"
    early = model.bundle.manifest.exit
    assert early is not None
    went_on = early.rule.goes_on(
        np.array([one.irrelevance for one in fast.results]),
        np.array([one.score for one in fast.results]),
        0.5,
    )
    assert went_on.sum() == balanced.all_layers
    for one, shallow, deep, on in zip(balanced.results, fast.results, full.results, went_on, strict=True):
        assert one.irrelevance == pytest.approx((deep if on else shallow).irrelevance, abs=1e-4)


def test_the_prefix_is_not_run_for_the_encoder(model: RelevanceModel) -> None:
    timings: dict[str, float] = {}
    model.judge("never asked before", PRODUCTS, level="fast", timings=timings)
    assert timings["prefix"] == 0
    assert timings["early"] > 0
    model.judge("never asked before", PRODUCTS, level="full", timings=timings)
    assert timings["prefix"] > 0


def test_a_repeat_computes_nothing_and_says_the_same(model: RelevanceModel, folder: Path) -> None:
    warm = remembering(model, folder)
    for level in ("fast", "balanced", "full"):
        first = warm.judge("phone", PRODUCTS, level=level)
        timings: dict[str, float] = {}
        assert warm.judge("phone", PRODUCTS, level=level, timings=timings) == first
        assert set(timings) == {"cache"}


def test_early_words_are_remembered_for_the_last(model: RelevanceModel, folder: Path) -> None:
    warm = remembering(model, folder)
    warm.judge("case", PRODUCTS, level="fast")
    timings: dict[str, float] = {}
    found = warm.judge("case", PRODUCTS, level="full", timings=timings)
    assert "early" not in timings
    for one, other in zip(found.results, model.judge("case", PRODUCTS, level="full").results, strict=True):
        assert one.irrelevance == pytest.approx(other.irrelevance, abs=1e-5)


def test_at_the_deadline_each_has_at_least_the_first_word(model: RelevanceModel) -> None:
    many = [f"{product} {number}" for number in range(12) for product in PRODUCTS]
    engine = model._engine
    run = type(engine)._run_products

    def slow(*arguments: object) -> object:
        time.sleep(2.0)
        return run(engine, *arguments)

    model.judge("warm", many, level="fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_run_products", slow)
        model.judge("warm", many, level="full")  # teaches the pace
        judged = model.judge("case", many, level="full", deadline=time.monotonic() + 9, partial=True)
    engine.pace.__init__()  # the other tests know nothing of this
    assert len(judged.results) == len(many)
    assert judged.all_layers < len(many)


def test_a_grade_that_is_no_number_is_not_given(folder: Path) -> None:
    broken = RelevanceModel.load(folder, precision="fp32")
    encoder = broken.encoder
    assert encoder is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_pass", lambda words, lengths: torch.full((len(words), 4), float("nan")))
        with pytest.raises(NotFiniteError):
            broken.judge("case", PRODUCTS, level="fast")
    assert broken.judge("case", PRODUCTS, level="fast").results


def test_a_missing_encoder_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    (tmp_path / "bundle" / "encoder.safetensors").unlink()
    with pytest.raises(BundleError, match=r"encoder\.safetensors"):
        RelevanceModel.load(tmp_path / "bundle", precision="fp32")


def test_the_encoder_is_part_of_the_digest(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    before = load_bundle(tmp_path / "bundle").digest()
    assert before == Bundle(folder, load_bundle(folder).manifest).digest()
    with (tmp_path / "bundle" / "encoder.safetensors").open("ab") as file:
        file.write(b" ")
    assert load_bundle(tmp_path / "bundle").digest() != before


def test_mixed_grades_keep_what_is_missing() -> None:
    full = np.array([[0.7, 0.1, 0.1, 0.1], [np.nan] * 4, [1.0, 0, 0, 0]], dtype=np.float32)
    early = np.array([[0.1, 0.1, 0.1, 0.7], [0.25] * 4, [0.0, 1, 0, 0]], dtype=np.float32)
    found = mixed(full, early, 0.5)
    assert found[0, 0] == pytest.approx(found[0, 3])
    assert found[0].sum() == pytest.approx(1)
    assert np.isnan(found[1]).all()
    assert found[2] == pytest.approx([0.5, 0.5, 0, 0], abs=1e-4)
    assert mixed(full, early, 0.0)[0] == pytest.approx(full[0], abs=1e-6)
