"""A model's weights as they lie in their files, under the names that transformers has for them, without its model.

Importing that takes seconds and 200 MB, of which a lean pass needs nothing. Knows safetensors; knows no architecture.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TABLES = ("model.embed_tokens.", "lm_head.")


class Checkpoint(nn.Module):
    """What ``csrm.scoring.gemma3`` reads of a causal LM: its configuration, its modules by name and their weights.

    Embeddings stay as they are in their file, which is mapped: what nobody looks at takes no memory. All else is fp32.
    """

    def __init__(self, config: Any, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        _grow(self, {tuple(name.split(".")): tensor for name, tensor in tensors.items()})

    def get_input_embeddings(self) -> nn.Module:
        return self.get_submodule("model.embed_tokens")

    def get_output_embeddings(self) -> nn.Module:
        return (
            self.get_input_embeddings() if self.config.tie_word_embeddings else self.get_submodule("lm_head")
        )


def read_checkpoint(folder: Path, config: Any) -> Checkpoint | None:
    """The weights of a folder; null where there are none in the form in which transformers writes them today."""
    try:
        if (folder / _INDEX).is_file():
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            names = sorted(set(index["weight_map"].values()))
        else:
            names = [_WEIGHTS]
        tensors: dict[str, Tensor] = {}
        for name in names:
            with safe_open(folder / name, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118  (it is no mapping)
                    tensor = opened.get_tensor(key)
                    tensors[key] = tensor if key.startswith(_TABLES) else tensor.to(torch.float32, copy=True)
        return Checkpoint(config, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None


def _grow(module: nn.Module, tensors: dict[tuple[str, ...], Tensor]) -> None:
    """Give a module these weights and modules."""
    below: dict[str, dict[tuple[str, ...], Tensor]] = {}
    for (first, *rest), tensor in tensors.items():
        if rest:
            below.setdefault(first, {})[tuple(rest)] = tensor
        else:
            module.register_parameter(first, nn.Parameter(tensor, requires_grad=False))
    for name in sorted(below, key=lambda name: (len(name), name)):  # numbers by their size
        child = nn.ModuleList() if all(one[0].isdigit() for one in below[name]) else nn.Module()
        _grow(child, below[name])
        module.add_module(name, child)
