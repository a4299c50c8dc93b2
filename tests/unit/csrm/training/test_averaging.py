"""Averaged adapters: the mean of what they change, at a rank."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from csrm.bundle import ENCODER_FILE
from csrm.encoder.cross_encoder import read_changes, weight_of
from csrm.encoder.e5 import E5File
from csrm.errors import BundleError, InputError, TrainingError
from csrm.prompt import PromptLimits, PromptTemplate
from csrm.training import averaging
from csrm.training.asked import Asked, asked_of
from csrm.training.averaging import CONFIG, WEIGHTS, average
from csrm.training.encoder_trainer import save_changes
from tests.unit.csrm.encoder.tiny import drawn_changes, tiny_e5


def write(folder: Path, rank: int, alpha: int, seed: int, *, name: str = "q_proj") -> torch.Tensor:
    """An adapter of one matrix (12, 8); returns what it changes."""
    chance = torch.Generator().manual_seed(seed)
    up = torch.randn(12, rank, generator=chance).bfloat16()
    down = torch.randn(rank, 8, generator=chance).bfloat16()
    folder.mkdir()
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, folder / WEIGHTS)
    (folder / CONFIG).write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none"})
    )
    return alpha / rank * up.float() @ down.float()


def change(folder: Path) -> torch.Tensor:
    config = json.loads((folder / CONFIG).read_text())
    tensors = load_file(folder / WEIGHTS)
    scale = config["lora_alpha"] / config["r"]
    return scale * tensors["q_proj.lora_B.weight"].float() @ tensors["q_proj.lora_A.weight"].float()


def test_the_mean_of_the_changes_at_a_rank_that_holds_it(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 2, 4, 1), write(tmp_path / "b", 4, 4, 2)
    lost = average({tmp_path / "a": 0.75, tmp_path / "b": 0.25}, tmp_path / "mean", rank=8)
    mean = 0.75 * a + 0.25 * b
    assert lost < 1e-6
    assert (change(tmp_path / "mean") - mean).norm() < 0.02 * mean.norm()  # written in bf16
    assert json.loads((tmp_path / "mean" / CONFIG).read_text())["bias"] == "none"


def test_a_rank_that_a_matrix_cannot_have_is_filled_up(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 6, 6, 1), write(tmp_path / "b", 6, 6, 2)
    assert average({tmp_path / "a": 0.5, tmp_path / "b": 0.5}, tmp_path / "mean", rank=10) < 1e-6
    tensors = load_file(tmp_path / "mean" / WEIGHTS)
    assert tensors["q_proj.lora_B.weight"].shape == (12, 10)
    assert tensors["q_proj.lora_A.weight"].shape == (10, 8)
    assert (change(tmp_path / "mean") - (a + b) / 2).norm() < 0.02 * a.norm()


def test_what_a_small_rank_cannot_hold_is_said(tmp_path: Path) -> None:
    mean = 0.5 * write(tmp_path / "a", 4, 4, 1) + 0.5 * write(tmp_path / "b", 4, 4, 2)
    lost = average({tmp_path / "a": 0.5, tmp_path / "b": 0.5}, tmp_path / "mean", rank=2)
    found = float((change(tmp_path / "mean") - mean).norm() ** 2 / mean.norm() ** 2)
    assert found == pytest.approx(lost, rel=0.05)
    assert 0 < lost < 1


def test_bad_adapters_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a", 2, 4, 1)
    write(tmp_path / "other", 2, 4, 2, name="k_proj")
    with pytest.raises(InputError, match="other adapts other matrices than"):
        average({tmp_path / "a": 1.0, tmp_path / "other": 1.0}, tmp_path / "mean", rank=2)
    with pytest.raises(InputError, match="missing holds no adapter"):
        average({tmp_path / "missing": 1.0}, tmp_path / "mean", rank=2)
    with pytest.raises(InputError, match="a number as its weight"):
        average({tmp_path / "a": float("nan")}, tmp_path / "mean", rank=2)
    assert not (tmp_path / "mean").exists()
    with pytest.raises(InputError, match="exists already"):
        average({tmp_path / "a": 1.0}, tmp_path / "a", rank=2)


def say(folder: Path, **changed: Any) -> Asked:
    """Write what an adapter was asked, with some of it changed."""
    prompt = PromptTemplate(suffix="\nSo:")
    usual = {
        "name": folder.name,
        "version": 4,
        "base": "hub/base",
        "prompt": prompt,
        "limits": PromptLimits(),
    }
    asked = Asked.model_validate(usual | changed)
    asked.write(folder)
    return asked


def test_a_mean_is_asked_as_its_parents_were(tmp_path: Path) -> None:
    a, b, silent = (tmp_path / name for name in ("a", "b", "silent"))
    for seed, folder in enumerate((a, b, silent)):
        write(folder, 2, 4, seed)
    said = say(a)
    say(b, version=1)
    average({a: 0.5, b: 0.5}, tmp_path / "mean", rank=4)
    assert asked_of(tmp_path / "mean") == said
    average({a: 0.5, silent: 0.5}, tmp_path / "half-said", rank=4)
    assert asked_of(tmp_path / "half-said") is None


@pytest.mark.parametrize(
    ("setting", "other"),
    [("base", "hub/other"), ("prompt", PromptTemplate()), ("limits", PromptLimits(product_tokens=24))],
)
def test_adapters_that_were_asked_otherwise_are_refused(setting: str, other: object, tmp_path: Path) -> None:
    a, silent, b = (tmp_path / name for name in ("a", "silent", "b"))
    for seed, folder in enumerate((a, silent, b)):
        write(folder, 2, 4, seed)
    say(a)
    say(b, **{setting: other})
    with pytest.raises(InputError, match=f"b was trained with another {setting} than .*a "):
        average({a: 0.4, silent: 0.2, b: 0.4}, tmp_path / "mean", rank=4)
    assert not (tmp_path / "mean").exists()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", 2, 4, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # files may grow no further, as on a full disk
    try:
        with pytest.raises(TrainingError, match=r"mean cannot be written to \(.+\): make room .* again\.$"):
            average({tmp_path / "a": 1.0}, tmp_path / "mean", rank=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    average({tmp_path / "a": 1.0}, tmp_path / "mean", rank=2)
    assert {path.name for path in (tmp_path / "mean").iterdir()} == {CONFIG, WEIGHTS}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> E5File:
    file = tiny_e5(tmp_path / "e5.bin")
    monkeypatch.setattr(averaging, "installed", lambda: file)
    return file


def test_cross_encoders_beside_them_are_averaged_too(tmp_path: Path, tiny: E5File) -> None:
    parents = {tmp_path / "a": 1.5, tmp_path / "b": 0.5}
    drawn = [drawn_changes(tiny, seed) for seed in (1, 2)]
    for seed, (folder, changes, counts) in enumerate(zip(parents, drawn, (0.3, 0.6), strict=True)):
        write(folder, 2, 2, seed)
        save_changes(changes, folder / ENCODER_FILE, counts)
    lost = average(parents, tmp_path / "mean", rank=4)
    mean = read_changes(tmp_path / "mean" / ENCODER_FILE, tiny)
    assert weight_of(tmp_path / "mean" / ENCODER_FILE) == pytest.approx(0.3)
    a, b = (read_changes(folder / ENCODER_FILE, tiny) for folder in parents)
    for name in mean:
        if name.endswith(".A"):
            other = name.removesuffix("A") + "B"
            want = 0.75 * a[other] @ a[name] + 0.25 * b[other] @ b[name]
            share = float((mean[other] @ mean[name] - want).norm() ** 2 / want.norm() ** 2)
            assert share < lost + 0.01  # two of rank 2 do not fit into one
        elif not name.endswith(".B"):
            assert torch.allclose(mean[name], 0.75 * a[name] + 0.25 * b[name], atol=0.01)
    assert 0.05 < lost < 1


def test_a_cross_encoder_that_not_all_have_is_refused(tmp_path: Path, tiny: E5File) -> None:
    for seed, name in enumerate("ab"):
        write(tmp_path / name, 2, 2, seed)
    save_changes(drawn_changes(tiny), tmp_path / "a" / ENCODER_FILE, 0.3)
    with pytest.raises(InputError, match=r"a has a cross-encoder .* and .*b has none"):
        average({tmp_path / "a": 0.5, tmp_path / "b": 0.5}, tmp_path / "mean", rank=4)
    save_changes(drawn_changes(tiny), tmp_path / "b" / ENCODER_FILE, 0.3)
    with pytest.raises(InputError, match="sum to nothing"):
        average({tmp_path / "a": 0.5, tmp_path / "b": -0.5}, tmp_path / "mean", rank=4)
    other = {
        name: tensor[:1] if name.endswith(".A") else tensor[:, :1] if name.endswith(".B") else tensor
        for name, tensor in drawn_changes(tiny).items()
    }
    save_changes(other, tmp_path / "b" / ENCODER_FILE, 0.3)
    with pytest.raises(InputError, match="b's cross-encoder has another rank"):
        average({tmp_path / "a": 0.5, tmp_path / "b": 0.5}, tmp_path / "mean", rank=4)
    (tmp_path / "b" / ENCODER_FILE).write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="cannot be read"):
        average({tmp_path / "a": 0.5, tmp_path / "b": 0.5}, tmp_path / "mean", rank=4)
    assert not (tmp_path / "mean").exists()
