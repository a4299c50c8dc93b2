"""Hidden states with gradients into the adapter.

Knows how a LoRA-adapted model is run for training; knows no loss and no data. Gemma 3 takes the lean pass of
``csrm.scoring.gemma3`` (2 to 3 times the tokens/s of the library path on two cores); any other causal LM takes the
transformers model as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor

from csrm.errors import InputError
from csrm.scoring import gemma3
from csrm.scoring.lean import LeanGemma3Engine, own_attention

Tap = Callable[[int, Tensor], None]
"""Called after each layer with how many layers have run and the residual stream (n, t, hidden)."""


class Forward(Protocol):
    """Normed hidden states in fp32 of token ids (n, t), padded on the right.

    (n, hidden) at each row's ``last`` token (n,); (n, t, hidden) of all tokens where that is null.
    """

    def __call__(self, ids: Tensor, last: Tensor | None, tap: Tap | None = None) -> Tensor: ...


def forward_of(model: PeftModel) -> Forward:
    """The fastest forward pass for this model."""
    base = model.get_base_model()
    if LeanGemma3Engine.supports(base.config):
        return _lean(base)
    return _library(base)


def _library(base: Any) -> Forward:
    def run(ids: Tensor, last: Tensor | None, tap: Tap | None = None) -> Tensor:
        if tap is not None:
            raise InputError("exit: only Gemma 3 bases can be trained with an early exit.")
        with torch.autocast(ids.device.type, dtype=torch.bfloat16):
            hidden: Tensor = base.model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.float() if last is None else _at(hidden, last).float()

    return run


def _lean(base: Any) -> Forward:
    before: Any = gemma3.before_attention
    after: Any = gemma3.after_attention
    attention: Any = own_attention
    if shutil.which("g++") or shutil.which("clang++"):  # what torch.compile builds its kernels with
        before, after, attention = (torch.compile(part, dynamic=True) for part in (before, after, attention))

    def run(ids: Tensor, last: Tensor | None, tap: Tap | None = None) -> Tensor:
        weights = gemma3.weights_of(base, torch.bfloat16, _adapted)

        def attend(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            attended: Tensor = attention(q, k, v, weights.scale, mask)
            return attended

        return gemma3.hidden_states(
            weights, ids, last=last, attend=attend, before=before, after=after, tap=tap
        )

    return run


def _at(hidden: Tensor, last: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _adapted(module: Any) -> Tensor:
    """Weight of a LoRA layer with its adapter added: one small product a step instead of two a token."""
    base = module.base_layer.weight
    down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
    return torch.addmm(base, up.to(base.dtype), down.to(base.dtype), alpha=module.scaling["default"])
