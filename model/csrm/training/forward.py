"""Hidden states with gradients into the adapter.

Knows how a LoRA-adapted model is run for training; knows no loss and no data. Gemma 3 takes the lean pass of
``csrm.scoring.gemma3`` (2 to 3 times the tokens/s of the library path on two cores); any other causal LM, and whatever
is packed or held in 4 bits, takes the transformers model as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from csrm.errors import InputError
from csrm.scoring import gemma3
from csrm.scoring.lean import LeanGemma3Engine, own_attention
from csrm.training.recipe import HardwareSettings

Tap = Callable[[int, Tensor], None]
"""Called after each layer with how many layers have run and the residual stream (n, t, hidden)."""


class Forward(Protocol):
    """Normed hidden states in fp32 of token ids (n, t), padded on the right; ``last`` (n,) is each row's last token.

    (n, hidden) at the last tokens; (n, t, hidden) with ``every``, where those of the padding mean nothing.
    """

    def __call__(
        self, ids: Tensor, last: Tensor, *, every: bool = False, tap: Tap | None = None
    ) -> Tensor: ...


def forward_of(model: PeftModel, hardware: HardwareSettings, dtype: torch.dtype) -> Forward:
    """The fastest forward pass for this model and these settings, its products in ``dtype``."""
    base: Any = model.get_base_model()
    if LeanGemma3Engine.supports(base.config) and not (hardware.packed or hardware.four_bit):
        return _lean(base, hardware.checkpointing, dtype)
    if hardware.checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    return _packed(base, dtype) if hardware.packed else _library(base, dtype)


def _library(base: Any, dtype: torch.dtype) -> Forward:
    def run(ids: Tensor, last: Tensor, *, every: bool = False, tap: Tap | None = None) -> Tensor:
        _refuse(tap)
        with _products_in(dtype, ids.device):
            hidden: Tensor = base.model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.float() if every else _at(hidden, last).float()

    return run


def _packed(base: Any, dtype: torch.dtype) -> Forward:
    """Rows end to end as one; positions that begin anew tell transformers where one ends and the next begins."""

    def run(ids: Tensor, last: Tensor, *, every: bool = False, tap: Tap | None = None) -> Tensor:
        _refuse(tap)
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        said = places <= last[:, None]
        with _products_in(dtype, ids.device):
            hidden: Tensor = base.model(
                input_ids=ids[said][None], position_ids=places[said][None], use_cache=False
            ).last_hidden_state[0]
        if not every:
            return hidden[(last + 1).cumsum(0) - 1].float()
        unpacked = torch.zeros(*ids.shape, hidden.shape[-1], device=ids.device)
        return unpacked.index_put((said,), hidden.float())

    return run


def _products_in(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _refuse(tap: Tap | None) -> None:
    if tap is not None:
        raise InputError(
            "exit: only Gemma 3 bases can be trained with an early exit, neither packed nor in 4 bits."
        )


def _lean(base: Any, checkpointing: bool, dtype: torch.dtype) -> Forward:
    before: Any = gemma3.before_attention
    after: Any = gemma3.after_attention
    attention: Any = own_attention
    if shutil.which("g++") or shutil.which("clang++"):  # what torch.compile builds its kernels with
        before, after, attention = (torch.compile(part, dynamic=True) for part in (before, after, attention))
    if checkpointing:
        before, after, attention = (
            partial(checkpoint, part, use_reentrant=False) for part in (before, after, attention)
        )

    def run(ids: Tensor, last: Tensor, *, every: bool = False, tap: Tap | None = None) -> Tensor:
        weights = gemma3.weights_of(base, dtype, _adapted)

        def attend(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            attended: Tensor = attention(q, k, v, weights.scale, mask)
            return attended

        return gemma3.hidden_states(
            weights, ids, last=None if every else last, attend=attend, before=before, after=after, tap=tap
        )

    return run


def _at(hidden: Tensor, last: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _adapted(module: Any) -> Tensor:
    """Weight of a LoRA layer with its adapter added: one small product a step instead of two a token."""
    base = module.base_layer.weight
    down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
    return torch.addmm(base, up.to(base.dtype), down.to(base.dtype), alpha=module.scaling["default"])
