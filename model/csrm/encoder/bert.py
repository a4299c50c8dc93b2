"""A lean forward pass for BERT encoders with a head of four grades: fp32 between the products, rows of like length.

Knows the architecture (arXiv 1810.04805, checked against the transformers model); knows no tokens, no file and no
labels. The same code trains and serves: training hands it changes that carry gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.encoder.e5 import PLACES, E5File, Shape
from csrm.prompt import GRADES

Tensors = Mapping[str, Tensor]

LINEAR = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
LORA_SCALE = 2.0
"""What the product of a change's two factors is multiplied by (arXiv 2106.09685, alpha over rank)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map (out, in) with its bias (out,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Of (..., in) in fp32, (..., out) in fp32."""
        return F.linear(x.to(self.weight.dtype), self.weight).float() + self.bias


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer."""

    qkv: Linear
    out: Linear
    norm_attention: Norm
    inner: Linear
    outer: Linear
    norm_out: Norm


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """All weights the grades depend on, but for the vocabulary's."""

    positions: Tensor
    norm: Norm
    layers: list[Layer]
    dense: Linear
    grades: Linear
    heads: int


def shapes_of(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of the layers."""
    hidden, inner = shape.hidden, shape.inner
    sizes = dict.fromkeys(LINEAR, (hidden, hidden)) | {LINEAR[4]: (inner, hidden), LINEAR[5]: (hidden, inner)}
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(shape.layers):
        for place in PLACES:
            size = sizes.get(place, (hidden,))
            found[f"layer.{layer}.{place}.weight"] = size
            found[f"layer.{layer}.{place}.bias"] = size[:1]
    return found


def base_of(file: E5File) -> dict[str, Tensor]:
    """The untrained encoder's tensors by their names, in fp32, without the vocabulary."""
    found = {
        "positions": torch.from_numpy(file.tensor("emb.pos")).view(-1, file.shape.hidden)
        + torch.from_numpy(file.tensor("emb.type")[: file.shape.hidden]),
        "norm.weight": torch.from_numpy(file.tensor("emb.ln.w")),
        "norm.bias": torch.from_numpy(file.tensor("emb.ln.b")),
    }
    for name, size in shapes_of(file.shape).items():
        _, layer, place = name.split(".", 2)
        place, part = place.rsplit(".", 1)
        found[name] = torch.from_numpy(file.tensor(f"l{layer}.{PLACES[place]}.{part[0]}")).view(size)
    return found


def changes_of(shape: Shape, rank: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what training changes: two factors of each linear map, biases, norms, and the head."""
    found: dict[str, tuple[int, ...]] = {}
    for name, size in shapes_of(shape).items():
        if len(size) == 2:
            stem = name.removesuffix(".weight")
            found[f"{stem}.A"], found[f"{stem}.B"] = (rank, size[1]), (size[0], rank)
        else:
            found[name] = size
    return found | {
        "dense.weight": (shape.hidden, shape.hidden),
        "dense.bias": (shape.hidden,),
        "grades.weight": (len(GRADES), shape.hidden),
        "grades.bias": (len(GRADES),),
    }


def weights_of(
    base: Tensors, changes: Tensors, shape: Shape, dtype: torch.dtype = torch.float32
) -> EncoderWeights:
    """The weights of a changed encoder.

    Args:
        base: as ``base_of`` gives them.
        changes: with the names of ``changes_of``.
        shape: of the encoder.
        dtype: of the linear maps, the head's aside.
    """

    def linear(layer: int, *places: str) -> Linear:
        stems = [f"layer.{layer}.{place}" for place in places]
        weights = [
            base[f"{stem}.weight"] + LORA_SCALE * (changes[f"{stem}.B"] @ changes[f"{stem}.A"])
            for stem in stems
        ]
        return Linear(torch.cat(weights).to(dtype), torch.cat([changes[f"{stem}.bias"] for stem in stems]))

    def norm(layer: int, place: str) -> Norm:
        stem = f"layer.{layer}.{place}"
        return Norm(changes[f"{stem}.weight"], changes[f"{stem}.bias"], shape.epsilon)

    return EncoderWeights(
        positions=base["positions"],
        norm=Norm(base["norm.weight"], base["norm.bias"], shape.epsilon),
        layers=[
            Layer(
                qkv=linear(i, *LINEAR[:3]),
                out=linear(i, LINEAR[3]),
                norm_attention=norm(i, NORMS[0]),
                inner=linear(i, LINEAR[4]),
                outer=linear(i, LINEAR[5]),
                norm_out=norm(i, NORMS[1]),
            )
            for i in range(shape.layers)
        ],
        dense=Linear(changes["dense.weight"], changes["dense.bias"]),
        grades=Linear(changes["grades.weight"], changes["grades.bias"]),
        heads=shape.heads,
    )


def grade_logits(weights: EncoderWeights, words: Tensor, lengths: Tensor) -> Tensor:
    """Logits (n, 4) of E, S, C, I, in fp32.

    Args:
        weights: of the model.
        words: rows of the vocabulary, (n, t, hidden) in fp32, rows padded on the right with anything.
        lengths: tokens of each row, (n,).
    """
    n = len(words)
    x = embedded(weights, words)
    mask = attention_mask(lengths, words.shape[1])
    for layer in weights.layers:
        fused = layer.qkv(x).to(layer.qkv.weight.dtype)
        x = layer.norm_attention(x + layer.out(attention(fused, n, weights.heads, mask)))
        x = layer.norm_out(x + layer.outer(F.gelu(layer.inner(x))))
    return head_logits(weights, x, lengths)


def embedded(weights: EncoderWeights, words: Tensor) -> Tensor:
    """The stream (n, t, hidden) before the first layer."""
    return weights.norm(words + weights.positions[: words.shape[1]])


def attention_mask(lengths: Tensor, tokens: int) -> Tensor | None:
    """Which tokens of a row are there, (n, 1, 1, t); null where all are."""
    if bool((lengths == tokens).all()):
        return None
    return _there(lengths, tokens)[:, None, None, :]


def attention(fused: Tensor, rows: int, heads: int, mask: Tensor | None) -> Tensor:
    """Attention (n, t, hidden) of queries, keys and values (n, t, 3 hidden) side by side, or (n * t, 3 hidden)."""
    parts = fused.view(rows, -1, 3, heads, fused.shape[-1] // (3 * heads)).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return attended.transpose(1, 2).reshape(rows, -1, fused.shape[-1] // 3)


def head_logits(weights: EncoderWeights, x: Tensor, lengths: Tensor) -> Tensor:
    """Logits (n, 4) of the stream (n, t, hidden) after the last layer: of its mean over each row's tokens."""
    mean = (x * _there(lengths, x.shape[1])[..., None]).sum(1) / lengths[:, None]
    return weights.grades(torch.tanh(weights.dense(mean)))


def _there(lengths: Tensor, tokens: int) -> Tensor:
    return torch.arange(tokens, device=lengths.device) < lengths[:, None]
