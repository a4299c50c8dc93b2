"""Adapters: what a LoRA changes is added to the weights of its base.

Reads what peft writes, without peft: importing that takes 200 MB and seconds, and a server needs none of it. Knows
plain LoRA on linear layers (arXiv 2106.09685), which is what `csrm train` writes; knows no scoring.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from csrm.errors import BundleError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_PLAIN = ("rank_pattern", "alpha_pattern", "modules_to_save", "use_dora", "fan_in_fan_out", "lora_bias")
"""Settings that change what an adapter adds; none may be set."""


def merge(model: Any, adapter: Path, base: str | Path) -> None:
    """Add an adapter to the weights of a model, in place.

    Args:
        model: a transformers model in fp32.
        adapter: folder as peft writes it.
        base: what the model is called in errors.

    Raises:
        BundleError: the folder cannot be read, is no plain LoRA, or is for another base.
    """
    try:
        config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(adapter / WEIGHTS)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        rows = math.sqrt(rank) if config.get("use_rslora") else rank
        scale = alpha / rows
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError, SafetensorError) as error:
        raise BundleError(f"The adapter {adapter} cannot be read: {error}") from error
    unknown = sorted(name for name in tensors if not name.endswith((_DOWN, _UP)))
    set_too = [name for name in _PLAIN if config.get(name)]
    if config.get("peft_type") != "LORA" or unknown or set_too:
        what = unknown[0] if unknown else set_too[0] if set_too else f"peft_type {config.get('peft_type')}"
        raise BundleError(
            f"The adapter {adapter} is no plain LoRA ({what}): merge it into its base yourself."
        )
    downs = [name for name in tensors if name.endswith(_DOWN)]
    try:
        with torch.no_grad():
            for name in downs:
                down, up = tensors[name].float(), tensors[name.removesuffix(_DOWN) + _UP].float()
                module = name.removeprefix(_PREFIX).removesuffix(_DOWN)
                model.get_submodule(module).weight.addmm_(up, down, alpha=scale)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise BundleError(f"The adapter {adapter} does not fit the base {base}: {error}") from error
    if not downs or len(tensors) != 2 * len(downs):
        raise BundleError(f"The adapter {adapter} lacks parts of its weights: write it anew.")
