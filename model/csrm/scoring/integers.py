"""Gemma 3's layers in 8-bit integers, for CPUs that multiply these at twice the speed of bf16.

What goes into a projection is rounded with a scale a token, its weights with a scale an output. Before a
projection a norm only multiplies by its weight, which keeps the few channels that are a thousand times the others from
being all that is left after rounding; its root mean square is in the token's scale.

Knows what ``gemma3`` knows, and torch's oneDNN operators; knows no prefix, no prompt and no labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.scoring.gemma3 import LayerWeights, rms_norm, rotate

LARGEST = 127
"""Of the integers; they are symmetric."""

ZERO = 128
"""What a token's zero becomes: oneDNN multiplies unsigned by signed integers fast, and two signed ones very slowly."""

_TINY = 1e-12


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
        scales = weight.abs().amax(-1).clamp_min(_TINY) / LARGEST
        whole = (weight / scales[:, None]).round().to(torch.int8)
        return cls(
            packed=torch.ops.onednn.qlinear_prepack(whole, None),
            scales=scales,
            zeros=torch.zeros(len(weight), dtype=torch.int64),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Of integers (m, in), in bf16 (m, out), still to be multiplied by each row's scale."""
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, ZERO, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )
        return found


@dataclass(frozen=True, slots=True)
class IntegerLayer:
    """Weights of one decoder layer; norms as in ``LayerWeights``."""

    norm_in: Tensor
    qkv: Projection
    norm_q: Tensor
    norm_k: Tensor
    out: Projection
    norm_attention: Tensor
    norm_mlp: Tensor
    gate_up: Projection
    down: Projection
    norm_out: Tensor
    local: bool

    @classmethod
    def of(cls, layer: LayerWeights) -> IntegerLayer:
        return cls(
            norm_in=layer.norm_in,
            qkv=Projection.of(layer.qkv),
            norm_q=layer.norm_q,
            norm_k=layer.norm_k,
            out=Projection.of(layer.out),
            norm_attention=layer.norm_attention,
            norm_mlp=layer.norm_mlp,
            gate_up=Projection.of(layer.gate_up),
            down=Projection.of(layer.down),
            norm_out=layer.norm_out,
            local=layer.local,
        )


def lacking(device: torch.device) -> str | None:
    """Why 8-bit integers are not multiplied exactly and fast on a device; null where they are."""
    if device.type != "cpu":
        return "8-bit integers run on a CPU, not on a GPU"
    if not torch.cpu._is_vnni_supported():
        return "this CPU has no AVX-512 VNNI, without which products of 8-bit integers are slow or overflow"
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (onednn and hasattr(torch.ops.onednn, "qlinear_pointwise")):
        return "this build of torch has no oneDNN, whose products of 8-bit integers are used"
    return None


def before_attention(
    layer: IntegerLayer, residual: Tensor, cos: Tensor, sin: Tensor, shape: tuple[int, int, int, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``gemma3.before_attention``; what it gives is bf16."""
    heads, kv_heads, head_dim, epsilon = shape
    n, t, hidden = residual.shape
    x, scale = rounded_norm(residual.reshape(n * t, hidden), layer.norm_in, epsilon)
    fused = (layer.qkv(x) * scale).view(n, t, heads + 2 * kv_heads, head_dim)
    queries, keys, values = torch.split(fused, [heads, kv_heads, kv_heads], dim=2)
    queries = rotate(rms_norm(queries, layer.norm_q, epsilon), cos, sin).bfloat16()
    keys = rotate(rms_norm(keys, layer.norm_k, epsilon), cos, sin).bfloat16()
    return queries.transpose(1, 2), keys.transpose(1, 2), values.bfloat16().transpose(1, 2)


def after_attention(layer: IntegerLayer, residual: Tensor, attended: Tensor, epsilon: float) -> Tensor:
    """As ``gemma3.after_attention``."""
    n, t, hidden = residual.shape
    residual = residual.reshape(n * t, hidden)
    x, scale = rounded(attended.transpose(1, 2).reshape(n * t, -1))
    residual = residual + rms_norm(layer.out(x) * scale, layer.norm_attention, epsilon)
    x, scale = rounded_norm(residual, layer.norm_mlp, epsilon)
    gate, up = layer.gate_up(x).chunk(2, dim=-1)
    x, further = rounded(F.gelu(gate * scale.bfloat16(), approximate="tanh") * up)
    residual = residual + rms_norm(layer.down(x) * (scale * further), layer.norm_out, epsilon)
    return residual.view(n, t, hidden)


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, k) as integers around ``ZERO``, and the scale (m, 1) of each in fp32."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp_min(_TINY) / LARGEST
    shift = torch.tensor(ZERO + 0.5)  # what is cut off then rounds to the nearest
    return torch.addcmul(shift, x.float(), scale.reciprocal()).to(torch.uint8), scale


def rounded_norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The same of the rows' root-mean-square norm; ``weight`` (k,) holds ``1 + w``."""
    whole, scale = rounded(x * weight)
    return whole, scale * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()
