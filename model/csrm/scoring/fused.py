"""Gemma 3's layers on a CPU in fused kernels: products in fp32, bf16 or 8-bit integers, and one pass between two.

Does what ``gemma3.run_layers`` does, with the same weights, for serving only: no gradients, one key-value head, and
rows that may stand after a prefix which they share.

Knows torch's products and the kernels; knows no prompt, no labels and no threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.scoring import gemma3, kernels

KeysValues = tuple[Tensor, Tensor]
"""Keys and values (p, d) of a prefix in one layer."""

Product = Callable[[Tensor], Tensor]
"""From rows (m, in), rounded as it takes them, to (m, out), still to be multiplied by the scale of each row."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer; norms as in ``gemma3.LayerWeights``."""

    norm_in: Tensor
    qkv: Product
    norm_q: Tensor
    norm_k: Tensor
    out: Product
    norm_attention: Tensor
    norm_mlp: Tensor
    gate_up: Product
    down: Product
    norm_out: Tensor
    local: bool

    @classmethod
    def of(cls, layer: gemma3.LayerWeights, product: Callable[[Tensor], Product]) -> Layer:
        """With ``product`` of each projection's weights (out, in)."""
        return cls(
            norm_in=layer.norm_in,
            qkv=product(layer.qkv),
            norm_q=layer.norm_q,
            norm_k=layer.norm_k,
            out=product(layer.out),
            norm_attention=layer.norm_attention,
            norm_mlp=layer.norm_mlp,
            gate_up=product(layer.gate_up),
            down=product(layer.down),
            norm_out=layer.norm_out,
            local=layer.local,
        )


@dataclass(frozen=True, slots=True)
class FusedLayers:
    """The layers of a model.

    Args:
        weights: of the model; its own layers are not used.
        layers: of the model.
        dtype: what their products take: bf16, fp32 or uint8.
        carried: what they give, and attention works in: bf16 or fp32, and ``dtype`` unless that is uint8.
    """

    weights: gemma3.Gemma3Weights
    layers: list[Layer]
    dtype: torch.dtype
    carried: torch.dtype

    @classmethod
    def of(
        cls,
        weights: gemma3.Gemma3Weights,
        product: Callable[[Tensor], Product],
        dtype: torch.dtype,
        carried: torch.dtype,
    ) -> FusedLayers:
        """With ``product`` of each projection's weights (out, in)."""
        layers = [Layer.of(layer, product) for layer in weights.layers]
        return cls(replace(weights, layers=[], embedding=torch.empty(0)), layers, dtype, carried)

    def __post_init__(self) -> None:
        kernels.prepare(*(array(torch.empty(0, dtype=of)).dtype.name for of in (self.carried, self.dtype)))

    def run(
        self,
        residual: Tensor,
        which: range,
        *,
        last: Tensor | None = None,
        start: int = 0,
        prefix: Sequence[KeysValues] = (),
        keep: list[KeysValues] | None = None,
    ) -> Tensor:
        """The residual stream (n, t, hidden) after some layers, or (n, 1, hidden) with ``last``.

        Args:
            residual: before the first of these layers, (n, t, hidden), rows padded on the right; it is not changed.
            which: of the layers.
            last: index of each row's last token, (n,): the last of these layers then computes these tokens alone.
            start: position of the first token of each row.
            prefix: of every layer of the model, what all rows stand after; nothing if empty.
            keep: gets keys and values of the first row in each of these layers, if given.
        """
        model = self.weights
        n, t, hidden = residual.shape
        if start + t >= model.window:
            raise ValueError(f"{start + t} tokens do not fit the sliding window of {model.window}")
        if not which:
            return residual
        rotations = {
            local: [
                part.view(t, -1)
                for part in gemma3.rotation(torch.arange(start, start + t), theta, model.head_dim)
            ]
            for local, theta in ((True, model.theta_local), (False, model.theta_global))
        }
        nothing = torch.empty(0, model.head_dim, dtype=self.carried)
        seen = torch.arange(1, t + 1).repeat(n)
        stream = residual.reshape(n * t, hidden).clone()
        x, scale = self._norm(stream, self.layers[which[0]].norm_in)
        for index in which:
            layer = self.layers[index]
            queries, keys, values = self._turn(layer, layer.qkv(x), scale, *rotations[layer.local])
            keys, values = keys.view(n, t, -1), values.view(n, t, -1)
            if keep is not None:
                keep.append((keys[0], values[0]))
            if last is not None and index == which[-1]:
                ends = torch.arange(n) * t + last
                stream, queries, seen = stream[ends], queries[ends], last + 1
            attended = attention(
                queries, keys, values, model.scale, seen, *(prefix[index] if prefix else (nothing, nothing))
            )
            x, scale = self._taken(attended)
            x, scale = self._add(stream, layer.out(x), scale, layer.norm_attention, layer.norm_mlp)
            x, scale = self._gate(layer.gate_up(x), scale)
            if index == which[-1]:
                kernels.add(
                    stream.numpy(), array(layer.down(x)), scale.numpy(), layer.norm_out.numpy(), model.epsilon
                )
            else:
                following = self.layers[index + 1].norm_in
                x, scale = self._add(stream, layer.down(x), scale, layer.norm_out, following)
        return stream.view(n, -1, hidden)

    def _norm(self, stream: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = self._rows(*stream.shape)
        kernels.norm(stream.numpy(), weight.numpy(), self.weights.epsilon, array(x), scale.numpy())
        return x, scale

    def _add(
        self, stream: Tensor, mixed: Tensor, mixed_scale: Tensor, weight: Tensor, following: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add to the stream, in place, and norm what it then is."""
        x, scale = self._rows(*stream.shape)
        kernels.add_norm(
            stream.numpy(),
            array(mixed),
            mixed_scale.numpy(),
            weight.numpy(),
            following.numpy(),
            self.weights.epsilon,
            array(x),
            scale.numpy(),
        )
        return x, scale

    def _turn(
        self, layer: Layer, fused: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (m, heads, d), keys and values (m, d)."""
        heads, d = self.weights.heads, self.weights.head_dim
        queries = torch.empty(len(fused), heads, d, dtype=self.carried)
        keys, values = (torch.empty(len(fused), d, dtype=self.carried) for _ in range(2))
        kernels.turn(
            array(fused.view(len(fused), heads + 2, d)),
            scale.numpy(),
            layer.norm_q.numpy(),
            layer.norm_k.numpy(),
            cos.numpy(),
            sin.numpy(),
            self.weights.epsilon,
            array(queries),
            array(keys),
            array(values),
        )
        return queries, keys, values

    def _taken(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """What attention gave, as a product takes it."""
        if self.dtype is self.carried:
            return attended, torch.ones(len(attended))
        x, scale = self._rows(*attended.shape)
        kernels.take(array(attended), array(x), scale.numpy())
        return x, scale

    def _gate(self, gate_up: Tensor, gate_scale: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = self._rows(len(gate_up), gate_up.shape[1] // 2)
        kernels.gate(array(gate_up), gate_scale.numpy(), array(x), scale.numpy())
        return x, scale

    def _rows(self, m: int, k: int) -> tuple[Tensor, Tensor]:
        return torch.empty(m, k, dtype=self.dtype), torch.empty(m)


def plain(weight: Tensor) -> Product:
    """The product with weights (out, in) as they are."""
    return partial(F.linear, weight=weight)


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    factor: float,
    seen: Tensor,
    prefix_keys: Tensor,
    prefix_values: Tensor,
) -> Tensor:
    """Attention (m, heads * d) over a prefix, in one product for the whole batch, and over the own row.

    Args:
        queries: of the same number of tokens of each row, (m, heads, d).
        keys, values: of each row, (n, t, d).
        factor: of the scores.
        seen: how many tokens of its own row each query sees, (m,).
        prefix_keys, prefix_values: (p, d).
    """
    m, heads, d = queries.shape
    n, t, _ = keys.shape
    flat = queries.view(-1, d)
    shared = (flat @ prefix_keys.T).view(m, heads, -1)
    own = torch.bmm(flat.view(n, -1, d), keys.transpose(1, 2)).view(m, heads, t)
    kernels.soften(array(shared), array(own), seen.numpy(), factor)
    found = torch.bmm(own.view(n, -1, t), values).view(-1, d)
    if len(prefix_keys):
        found = torch.addmm(found, shared.view(m * heads, -1), prefix_values)
    return found.view(m, heads * d)


def array(x: Tensor) -> kernels.Carried:
    """The numbers of a tensor, as the kernels take them: of bf16 the bits."""
    found: kernels.Carried = (x.view(torch.int16) if x.dtype is torch.bfloat16 else x).numpy()
    return found
