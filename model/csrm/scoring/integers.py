"""Products in 8-bit integers, for CPUs that multiply these at twice the speed of bf16.

What goes into a projection is rounded with a scale a token, as ``kernels`` does it, and its weights here with a scale
an output. A norm's weight is multiplied in before its product, and not into the weights of it: that keeps the few
channels that are a thousand times the others from being all that is left after rounding.

Knows torch's oneDNN operators; knows no layers, no prompt and no labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csrm.scoring.cpu import lacking_kernels
from csrm.scoring.rounding import LARGEST, TINY, ZERO


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear map in integers: its weights, packed for this CPU, and the scale of each output."""

    packed: Tensor
    scales: Tensor
    zeros: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Projection:
        """Round weights (out, in)."""
        weight = weight.float()
        scales = weight.abs().amax(-1).clamp_min(TINY) / LARGEST
        whole = (weight / scales[:, None]).round().to(torch.int8)
        return cls(
            packed=torch.ops.onednn.qlinear_prepack(whole, None),
            scales=scales,
            zeros=torch.zeros(len(weight), dtype=torch.int64),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Of unsigned integers (m, in) around 128, in bf16 (m, out), still to be multiplied by each row's scale."""
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, ZERO, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )
        return found


def lacking(device: torch.device) -> str | None:
    """Why layers in 8-bit integers are not exact and fast on a device; null where they are."""
    if device.type != "cpu":
        return "8-bit integers run on a CPU, not on a GPU"
    if not torch.cpu._is_vnni_supported():
        return "this CPU has no AVX-512 VNNI, without which products of 8-bit integers are slow or overflow"
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (onednn and hasattr(torch.ops.onednn, "qlinear_pointwise")):
        return "this build of torch has no oneDNN, whose products of 8-bit integers are used"
    return lacking_kernels(device)
