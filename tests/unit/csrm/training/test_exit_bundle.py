"""Calibrating a bundle with an early exit: its own calibration and threshold, the rule, and whose head it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from csrm.bundle import EXIT_FILE, load_bundle
from csrm.cascade import EVERYTHING
from csrm.errors import BundleError, InputError
from csrm.evaluation.cascading import CascadeFit
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.reference import reference_rows
from csrm.scoring import integers, load
from csrm.training.bundling import calibrated_bundle
from csrm.training.data import LabelledPair

CPU = torch.device("cpu")


def save_head(file: Path, layer: int | None = None) -> None:
    torch.manual_seed(5)
    tensors = {"norm": 1 + torch.rand(32), "rows": torch.randn(4, 32)}
    save_file(tensors, file, metadata={} if layer is None else {"layer": str(layer)})


@pytest.fixture
def start(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    folder = tmp_path / "start"
    folder.mkdir()
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"]), "exit": {"layer": 2}}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    save_head(folder / "exit.safetensors")
    return folder


@pytest.fixture
def adapter(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    base = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


@pytest.fixture
def clean(start: Path, tmp_path: Path) -> Path:
    """Rows labelled as both depths of the model see them, by and large: what a fit of sense needs."""
    rows = [LabelledPair(query=f"q {i % 5}", title=f"item {i}", label="E", locale="en") for i in range(200)]
    model = RelevanceModel.load(start)
    defects = [grade_rows(model, rows, level=level)[:, 2:].sum(axis=1) for level in ("fast", "full")]
    defect = sum(raw.argsort().argsort() for raw in defects)
    labels = ["EI"[int(place > 280)] for place in defect]
    judged = [row.model_copy(update={"label": label}) for row, label in zip(rows, labels, strict=True)]
    file = tmp_path / "clean.jsonl"
    file.write_text("".join(row.model_dump_json() + "\n" for row in judged))
    return file


def test_an_exit_is_fitted_beside_the_whole_model(start: Path, clean: Path, tmp_path: Path) -> None:
    told: list[CascadeFit | None] = []
    made = calibrated_bundle(
        start, [clean], tmp_path / "made", on_fit=lambda _, cascade: told.append(cascade)
    )
    fitted = made.manifest.exit
    assert told[0] is not None and told[0].exit == fitted
    levels = told[0].levels
    assert list(levels) == ["fast", "balanced", "full"]
    assert 0 == levels["fast"].all_layers < levels["balanced"].all_layers < levels["full"].all_layers == 1
    assert all(0.5 < found.auc < 1 for found in levels.values())
    assert levels["balanced"].removed >= levels["full"].removed - 0.05
    assert fitted is not None and fitted.layer == 2
    assert fitted.calibration != made.manifest.calibration
    assert 0 < fitted.threshold <= 1
    card = (made.path / "MODEL_CARD.md").read_text()
    assert "early exit is after 2 layers" in card
    for level, found in levels.items():
        assert f"| {level} | {found.all_layers:.0%} | {found.auc:.3f} | {found.lost:.1%} |" in card
    assert min(fitted.rule.below, fitted.rule.above) < EVERYTHING, "some need not go on"
    model = RelevanceModel.load(tmp_path / "made")
    products = [f"item {i}" for i in range(100)]
    assert model.judge("q 1", products, level="balanced").all_layers < 100
    np.testing.assert_allclose(
        [one.irrelevance for one in model.judge("q 1", products, level="fast").results],
        fitted.calibration.apply(model.grade("q 1", products, level="fast")[:, 2:].sum(axis=1)),
        rtol=1e-4,
    )


@pytest.mark.skipif(integers.lacking(CPU) is not None, reason=str(integers.lacking(CPU)))
def test_a_bundle_is_served_in_int8_once_it_was_calibrated_in_it(
    start: Path, adapter: Path, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "fastest", lambda device, precisions: precisions[-1])
    usual = calibrated_bundle(start, [clean], tmp_path / "usual")
    assert usual.manifest.calibrated_in == RelevanceModel.load(usual.path).precision != "int8"
    made = calibrated_bundle(start, [clean], tmp_path / "made", precision="int8")
    assert made.manifest.calibrated_in == "int8"
    assert "calibrated in int8, and served in it" in (made.path / "MODEL_CARD.md").read_text()
    assert RelevanceModel.load(made.path).precision == "int8"
    save_head(adapter / "exit.safetensors", 2)
    other = calibrated_bundle(made.path, [clean], tmp_path / "other", adapter=adapter)
    assert other.manifest.calibrated_in != "int8", "of new weights nobody knows whether they bear it"


def test_a_precision_that_cannot_be_had_is_not_calibrated_in(
    start: Path, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    with pytest.raises(InputError, match="int8 cannot be calibrated in here: this CPU has no AVX2"):
        calibrated_bundle(start, [clean], tmp_path / "made", precision="int8")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("written", "named"), [(2, 1), (None, 2)])
def test_an_adapter_brings_its_own_head(
    start: Path, adapter: Path, clean: Path, tmp_path: Path, written: int | None, named: int
) -> None:
    """Its file says the layer, or else the manifest that the bundle had."""
    save_head(adapter / "exit.safetensors", written)
    manifest = json.loads((start / "bundle.json").read_text())
    (start / "bundle.json").write_text(json.dumps(manifest | {"exit": {"layer": named}}))
    made = calibrated_bundle(start, [clean], tmp_path / "made", adapter=adapter)
    assert made.manifest.exit is not None and made.manifest.exit.layer == 2


def test_a_bundle_says_what_its_model_must_say(
    start: Path, adapter: Path, clean: Path, tmp_path: Path
) -> None:
    """And what the bundle that it was made from had to say is not asked of another adapter."""
    manifest = json.loads((start / "bundle.json").read_text())
    row = {"query": "q", "product": "item", "grades": [1, 0, 0, 0], "early": [0, 0, 0, 1]}
    (start / "bundle.json").write_text(json.dumps(manifest | {"reference": [row]}))
    save_head(adapter / "exit.safetensors", 2)
    made = calibrated_bundle(start, [clean], tmp_path / "made", adapter=adapter)
    fresh = reference_rows(RelevanceModel.load(tmp_path / "made", precision="fp32"))
    assert fresh and all(row.early is not None for row in fresh)
    for written, now in zip(made.manifest.reference, fresh, strict=True):
        assert written.product == now.product
        assert written.grades == pytest.approx(now.grades, abs=1e-5)


def test_an_adapter_without_a_head_leaves_none(
    start: Path, adapter: Path, clean: Path, tmp_path: Path
) -> None:
    made = calibrated_bundle(start, [clean], tmp_path / "made", adapter=adapter)
    assert load_bundle(tmp_path / "made").manifest.exit is None
    assert not (made.path / EXIT_FILE).exists()


def test_a_head_of_an_unknown_layer_is_refused(start: Path, adapter: Path, tmp_path: Path) -> None:
    save_head(adapter / "exit.safetensors")
    manifest = json.loads((start / "bundle.json").read_text())
    (start / "bundle.json").write_text(json.dumps(manifest | {"exit": None}))
    rows = [LabelledPair(query="q", title="item", label=label, locale="en") for label in ("E", "I")]
    (tmp_path / "clean.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    with pytest.raises(BundleError, match="does not say its layer"):
        calibrated_bundle(start, [tmp_path / "clean.jsonl"], tmp_path / "made", adapter=adapter)
    assert not (tmp_path / "made").exists()
