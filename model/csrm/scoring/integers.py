"""Products in 8-bit integers, which CPUs multiply at twice the speed of the floating-point format they are fastest in.

What goes into a projection is rounded with a scale a token, as ``kernels`` does it, and its weights here with a scale
an output. A norm's weight is multiplied in before its product, and not into the weights of it: that keeps the few
channels that are a thousand times the others from being all that is left after rounding.

A CPU without VNNI (AVX2 alone, say) adds two products at a time, of neighbouring inputs, in 16 bits, which are not
always enough: oneDNN then gives the largest number of 16 bits in their place. There an output's scale is so much larger
that no two of its neighbouring weights together can exceed what fits, whatever they are multiplied by. (Halving all
weights, as oneDNN's guide has it, would do the same at the cost of a whole bit.)

Knows torch's oneDNN operators; knows no layers, no prompt and no labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.scoring.cpu import lacking_kernels, multiplies_bf16
from csrm.scoring.rounding import LARGEST, TINY, ZERO


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear map in integers: its weights, packed for this CPU, the scale of each output, and what it gives."""

    packed: Tensor
    scales: Tensor
    zeros: Tensor
    gives: torch.dtype

    @classmethod
    def of(cls, weight: Tensor) -> Projection:
        """Round weights (out, in)."""
        whole, scales = rounded(weight.float(), pairs=adds_in_16_bits())
        return cls(
            packed=torch.ops.onednn.qlinear_prepack(whole, None),
            scales=scales,
            zeros=torch.zeros(len(weight), dtype=torch.int64),
            gives=carried(),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Of unsigned integers (m, in) around 128, (m, out), still to be multiplied by each row's scale."""
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, ZERO, self.packed, self.scales, self.zeros, None, 1.0, 0, self.gives, "none", [], ""
        )
        return found


@cache
def adds_in_16_bits() -> bool:
    """Whether two neighbouring products of this CPU must fit 16 bits together; tried once."""
    weight, x = torch.zeros(16, 64, dtype=torch.int8), torch.full((64, 64), 255, dtype=torch.uint8)
    weight[:, :2] = LARGEST
    product = Projection(
        torch.ops.onednn.qlinear_prepack(weight, None),
        torch.ones(16),
        torch.zeros(16, dtype=torch.int64),
        torch.float32,
    )
    return bool((product(x) != (255 - ZERO) * 2 * LARGEST).any())


def carried() -> torch.dtype:
    """What products in integers give: bf16 where this CPU has it, else fp32."""
    return torch.bfloat16 if multiplies_bf16() else torch.float32


def rounded(weight: Tensor, *, pairs: bool) -> tuple[Tensor, Tensor]:
    """Weights (out, in) as integers (out, in), and the scale of each output (out,).

    Args:
        weight: in fp32.
        pairs: neighbouring weights, the first and second, third and fourth and so on, of the same sign add up to 128 at
            most, so that their products with unsigned 8-bit integers fit 16 bits together.
    """
    largest = weight.abs().amax(-1)
    if pairs:
        both = F.pad(weight, (0, weight.shape[1] % 2)).view(len(weight), -1, 2).sum(-1).abs().amax(-1)
        largest = largest.maximum(both)  # of opposite signs they are smaller together than the larger one
    scales = largest.clamp_min(TINY) / LARGEST
    return (weight / scales[:, None]).round().to(torch.int8), scales


def lacking(device: torch.device) -> str | None:
    """Why layers in 8-bit integers are not exact and fast on a device; null where they are."""
    if device.type != "cpu":
        return "8-bit integers run on a CPU, not on a GPU"
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (onednn and hasattr(torch.ops.onednn, "qlinear_pointwise")):
        return "this build of torch has no oneDNN, whose products of 8-bit integers are used"
    return lacking_kernels(device)
