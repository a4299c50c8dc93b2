"""Adapters that peft wrote: merged to the same weights without it, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from csrm.errors import BundleError
from csrm.scoring.adapter import CONFIG, WEIGHTS, merge


def read(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def written(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter with weights of chance, as peft writes it."""
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "down_proj"]} | settings)
    adapted = get_peft_model(read(base), config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_()
    adapted.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("kind", ["gemma3", "llama"])
@pytest.mark.parametrize("rslora", [False, True])
def test_the_merged_weights_are_those_of_peft(
    kind: str, rslora: bool, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_bases[kind]
    adapter = written(base, tmp_path / "adapter", use_rslora=rslora)
    model = read(base)
    merge(model, adapter, base)
    plain = read(base).state_dict()
    expected = PeftModel.from_pretrained(read(base), str(adapter)).merge_and_unload().state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected[name])
        assert torch.equal(weight, plain[name]) != ("q_proj" in name or "down_proj" in name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "lora_magnitude_vector"),
        ({"modules_to_save": ["o_proj"]}, "o_proj"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    settings: dict[str, Any], named: str, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = written(tiny_bases["gemma3"], tmp_path / "adapter", **settings)
    with pytest.raises(BundleError, match=f"no plain LoRA.*{named}"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")


def test_another_kind_of_adapter_is_refused(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = written(tiny_bases["gemma3"], tmp_path / "adapter")
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(BundleError, match=r"no plain LoRA.*IA3"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")


def test_an_adapter_of_another_base_is_refused(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = written(tiny_bases["llama"], tmp_path / "adapter", target_modules=["k_proj"])
    with pytest.raises(BundleError, match="does not fit the base tiny"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")


def test_an_adapter_that_lacks_a_part_is_refused(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = written(tiny_bases["gemma3"], tmp_path / "adapter")
    tensors = load_file(adapter / WEIGHTS)
    downs = {name: tensor for name, tensor in tensors.items() if "lora_A" in name}
    save_file(downs, adapter / WEIGHTS)
    with pytest.raises(BundleError, match=r"does not fit|lacks parts"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")
    save_file({name: tensor for name, tensor in tensors.items() if name not in downs}, adapter / WEIGHTS)
    with pytest.raises(BundleError, match="lacks parts"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")


@pytest.mark.parametrize(
    ("file", "text"),
    [(CONFIG, "{"), (CONFIG, "{}"), (CONFIG, '{"r": 0, "lora_alpha": 1}'), (WEIGHTS, "no tensors")],
)
def test_files_that_are_broken_are_named(
    file: str, text: str, tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = written(tiny_bases["gemma3"], tmp_path / "adapter")
    (adapter / file).write_text(text)
    with pytest.raises(BundleError, match=rf"The adapter {adapter} cannot be read"):
        merge(read(tiny_bases["gemma3"]), adapter, "tiny")
