"""Calibrating a bundle with a cross-encoder: whose it is, what is fitted to it, and what stays of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from csrm.bundle import ENCODER_FILE, EXIT_FILE
from csrm.errors import InputError
from csrm.evaluation.cascading import CascadeFit
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.training.bundling import calibrated_bundle
from csrm.training.data import LabelledPair

ROWS = [LabelledPair(query=f"q {i % 5}", title=f"item {i}", label="E", locale="en") for i in range(200)]


@pytest.fixture
def bare(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    """A bundle without anything early."""
    folder = tmp_path / "bare"
    folder.mkdir()
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"])}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def adapter(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    base = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(
        str(tmp_path / "adapter")
    )
    return tmp_path / "adapter"


@pytest.fixture
def start(bare: Path, tiny_encoder: Path, tmp_path: Path) -> Path:
    """A bundle with an encoder."""
    folder = tmp_path / "start"
    shutil.copytree(bare, folder)
    shutil.copy(tiny_encoder, folder / ENCODER_FILE)
    manifest = json.loads((bare / "bundle.json").read_text()) | {
        "exit": {"layer": 0},
        "encoder": {"weight": 0.5},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def clean(bundle: Path, tmp_path: Path) -> Path:
    """Rows labelled as a bundle's encoder and its model see them."""
    model = RelevanceModel.load(bundle)
    defect = sum(
        grade_rows(model, ROWS, level=level)[:, 2:].sum(axis=1).argsort().argsort()
        for level in ("fast", "full")
    )
    labels = ["EI"[int(place > 280)] for place in defect]
    judged = [row.model_copy(update={"label": label}) for row, label in zip(ROWS, labels, strict=True)]
    file = tmp_path / "clean.jsonl"
    file.write_text("".join(row.model_dump_json() + "\n" for row in judged))
    return file


def test_an_encoder_beside_the_adapter_is_put_in_and_fitted(
    bare: Path, start: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copy(start / ENCODER_FILE, adapter / ENCODER_FILE)
    told: list[CascadeFit | None] = []
    made = calibrated_bundle(
        bare,
        [clean(start, tmp_path)],
        tmp_path / "made",
        adapter=adapter,
        on_fit=lambda _, cascade: told.append(cascade),
    )
    fitted = made.manifest.exit
    assert fitted is not None and told[0] is not None and told[0].exit == fitted
    assert made.manifest.encoder is not None
    assert (fitted.layer, made.manifest.encoder.weight) == (0, 0.5)
    assert fitted.calibration != made.manifest.calibration
    assert all(row.early is not None for row in made.manifest.reference)
    card = (made.path / "MODEL_CARD.md").read_text()
    assert "cross-encoder: has 50% of the log odds" in card
    assert "The cross-encoder judges first." in card
    model = RelevanceModel.load(made.path)
    np.testing.assert_allclose(
        [one.irrelevance for one in model.judge("q 1", ["item 1", "item 2"], level="fast").results],
        fitted.calibration.apply(model.grade("q 1", ["item 1", "item 2"], level="fast")[:, 2:].sum(axis=1)),
        rtol=1e-4,
    )


def test_another_adapter_keeps_the_encoder_which_knows_none(
    start: Path, adapter: Path, tmp_path: Path
) -> None:
    made = calibrated_bundle(start, [clean(start, tmp_path)], tmp_path / "made", adapter=adapter)
    assert made.manifest.exit is not None and made.manifest.encoder is not None
    assert (made.manifest.exit.layer, made.manifest.encoder.weight) == (0, 0.5)
    assert (made.path / ENCODER_FILE).read_bytes() == (start / ENCODER_FILE).read_bytes()


def test_the_encoder_can_be_given_another_weight(start: Path, tmp_path: Path) -> None:
    made = calibrated_bundle(start, [clean(start, tmp_path)], tmp_path / "made", weight=0.25)
    assert made.manifest.encoder is not None and made.manifest.encoder.weight == 0.25
    pair = ("q 1", ["item 1", "item 2"])
    old, new = RelevanceModel.load(start), RelevanceModel.load(made.path)
    np.testing.assert_allclose(old.grade(*pair, level="fast"), new.grade(*pair, level="fast"), rtol=1e-4)
    assert np.abs(old.grade(*pair) - new.grade(*pair)).max() > 1e-4


def test_a_weight_of_nothing_is_refused(bare: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cross-encoder"):
        calibrated_bundle(bare, [clean(start, tmp_path)], tmp_path / "made", weight=0.25)
    assert not (tmp_path / "made").exists()


def test_an_exit_of_the_adapters_own_judges_early_and_the_encoder_beside_the_last_layers(
    bare: Path, start: Path, adapter: Path, tmp_path: Path
) -> None:
    bare_adapter = tmp_path / "bare-adapter"
    shutil.copytree(adapter, bare_adapter)
    torch.manual_seed(5)
    head = {"norm": 1 + torch.rand(32), "rows": torch.randn(4, 32)}
    save_file(head, adapter / EXIT_FILE, metadata={"layer": "2"})
    exiting = tmp_path / "exiting"
    shutil.copytree(bare, exiting)
    shutil.copy(adapter / EXIT_FILE, exiting / EXIT_FILE)
    shutil.copy(start / ENCODER_FILE, exiting / ENCODER_FILE)
    manifest = json.loads((bare / "bundle.json").read_text())
    manifest |= {"exit": {"layer": 2}, "encoder": {"weight": 0.5}}
    (exiting / "bundle.json").write_text(json.dumps(manifest))
    made = calibrated_bundle(start, [clean(exiting, tmp_path)], tmp_path / "made", adapter=adapter)
    assert made.manifest.exit is not None and made.manifest.encoder is not None
    assert (made.manifest.exit.layer, made.manifest.encoder.weight) == (2, 0.5)
    assert (made.path / ENCODER_FILE).read_bytes() == (start / ENCODER_FILE).read_bytes()
    again = calibrated_bundle(made.path, [clean(exiting, tmp_path)], tmp_path / "again", adapter=bare_adapter)
    assert again.manifest.exit is not None and again.manifest.encoder is not None
    assert (again.manifest.exit.layer, again.manifest.encoder.weight) == (0, 0.5)
    assert not (again.path / EXIT_FILE).exists()
