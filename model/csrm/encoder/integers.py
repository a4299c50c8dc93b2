"""The cross-encoder's layers in 8-bit integers on a CPU, and one pass over memory between two products.

Does what ``bert.grade_logits`` does but for rounding and gelu's form. Knows torch's products and the kernels; knows no
tokens and no threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from csrm.encoder import bert
from csrm.scoring import kernels
from csrm.scoring.fused import array
from csrm.scoring.integers import Projection, carried


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer; biases and norms are those of ``source``."""

    qkv: Projection
    out: Projection
    inner: Projection
    outer: Projection
    source: bert.Layer

    @classmethod
    def of(cls, layer: bert.Layer) -> Layer:
        """With the matrices of a layer rounded."""
        return cls(
            qkv=Projection.of(layer.qkv.weight),
            out=Projection.of(layer.out.weight),
            inner=Projection.of(layer.inner.weight),
            outer=Projection.of(layer.outer.weight),
            source=replace(
                layer,
                qkv=_bias_of(layer.qkv),
                out=_bias_of(layer.out),
                inner=_bias_of(layer.inner),
                outer=_bias_of(layer.outer),
            ),
        )


class IntegerLayers:
    """The layers of a model, whose own matrices are not kept."""

    def __init__(self, weights: bert.EncoderWeights) -> None:
        self._weights = replace(weights, layers=[])
        self._layers = [Layer.of(layer) for layer in weights.layers]
        kernels.prepare(array(torch.empty(0, dtype=carried())).dtype.name, "uint8")

    def grade_logits(self, words: Tensor, lengths: Tensor) -> Tensor:
        """As ``bert.grade_logits``."""
        n, t, hidden = words.shape
        mask = bert.attention_mask(lengths, t)
        stream = bert.embedded(self._weights, words).view(n * t, hidden)
        x, scale = _narrow(stream)
        for layer in self._layers:
            fused = torch.empty(n * t, 3 * hidden)
            kernels.widen(array(layer.qkv(x)), scale.numpy(), layer.source.qkv.bias.numpy(), fused.numpy())
            attended = bert.attention(fused, n, self._weights.heads, mask).view(n * t, hidden)
            x, scale = _narrow(attended)
            _add(stream, layer.out(x), scale, layer.source.out.bias, layer.source.norm_attention, x)
            x, scale = _gelu(layer.inner(x), scale, layer.source.inner.bias)
            mixed = layer.outer(x)
            x = torch.empty(n * t, hidden, dtype=torch.uint8)
            _add(stream, mixed, scale, layer.source.outer.bias, layer.source.norm_out, x)
        return bert.head_logits(self._weights, stream.view(n, t, hidden), lengths)


def _bias_of(part: bert.Linear) -> bert.Linear:
    return replace(part, weight=torch.empty(0))


def _narrow(rows: Tensor) -> tuple[Tensor, Tensor]:
    x, scale = torch.empty(rows.shape, dtype=torch.uint8), torch.empty(len(rows))
    kernels.narrow(rows.numpy(), x.numpy(), scale.numpy())
    return x, scale


def _add(stream: Tensor, mixed: Tensor, scale: Tensor, bias: Tensor, norm: bert.Norm, out: Tensor) -> None:
    """Add to the stream, in place, and norm it: in place, and in ``out`` with its new ``scale``."""
    kernels.add_layer_norm(
        stream.numpy(),
        array(mixed),
        scale.numpy(),
        bias.numpy(),
        norm.weight.numpy(),
        norm.bias.numpy(),
        norm.epsilon,
        out.numpy(),
        scale.numpy(),
    )


def _gelu(mixed: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    x, own = torch.empty(mixed.shape, dtype=torch.uint8), torch.empty(len(mixed))
    kernels.gelu(array(mixed), scale.numpy(), bias.numpy(), x.numpy(), own.numpy())
    return x, own
