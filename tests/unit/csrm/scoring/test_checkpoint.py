"""Weights read without the library's model: the same as it reads, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from csrm.scoring import gemma3
from csrm.scoring.checkpoint import Checkpoint, read_checkpoint


def untied(base: Path, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    return folder


def in_parts(base: Path, folder: Path) -> Path:
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(
        folder, max_shard_size="20kB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def in_bf16(base: Path, folder: Path) -> Path:
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def as_it_is(base: Path, folder: Path) -> Path:
    return base


@pytest.mark.parametrize("made", [as_it_is, untied, in_parts, in_bf16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_are_those_of_the_library(
    made: Callable[[Path, Path], Path], dtype: torch.dtype, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = made(tiny_bases["gemma3"], tmp_path / "made")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = read_checkpoint(folder, AutoConfig.from_pretrained(folder))
    assert isinstance(found, Checkpoint)
    assert torch.equal(found.get_output_embeddings().weight.float(), model.get_output_embeddings().weight)
    wanted, ours = gemma3.weights_of(model, dtype), gemma3.weights_of(found, dtype)
    assert torch.equal(ours.embedding.float(), wanted.embedding.float())
    assert torch.equal(ours.norm, wanted.norm)
    assert (ours.scale, ours.window, len(ours.layers)) == (wanted.scale, wanted.window, len(wanted.layers))
    for one, other in zip(ours.layers, wanted.layers, strict=True):
        assert one.local == other.local
        for name in ("norm_in", "qkv", "norm_q", "norm_k", "out", "norm_mlp", "gate_up", "down", "norm_out"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_files_are_never_written_to(tiny_bases: dict[str, Path]) -> None:
    folder = tiny_bases["gemma3"]
    before = (folder / "model.safetensors").read_bytes()
    found = read_checkpoint(folder, AutoConfig.from_pretrained(folder))
    assert found is not None
    found.get_submodule("model.layers.1.mlp.down_proj").weight.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("broken", ["no file", "cut off", "index without its file", "another layout"])
def test_what_lies_otherwise_is_left_to_the_library(
    broken: str, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    source = tiny_bases["gemma3"] / "model.safetensors"
    file = tmp_path / "model.safetensors"
    config = AutoConfig.from_pretrained(tiny_bases["gemma3"])
    if broken == "cut off":
        file.write_bytes(source.read_bytes()[:-7])
    elif broken == "index without its file":
        names = dict.fromkeys(load_file(source), "model-00001-of-00002.safetensors")
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    elif broken == "another layout":
        save_file({f"text.{name}": tensor for name, tensor in load_file(source).items()}, file)
        found = read_checkpoint(tmp_path, config)
        with pytest.raises(AttributeError):
            gemma3.weights_of(found, torch.float32)
        return
    assert read_checkpoint(tmp_path, config) is None
