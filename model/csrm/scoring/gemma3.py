"""A lean forward pass for Gemma 3 text models: fused projections, fp32 residual stream, no padding masks.

Knows the architecture (arXiv 2503.19786, checked against the transformers model); knows no prompt, no labels and no
batching. The same code trains and serves: training hands it weights that carry gradients.

All sequences must be shorter than the sliding window (512), so that local and global layers see the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[int, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries (n, h, q, d), keys (n, kv, t, d), values (n, kv, t, d), mask to add to own scores) -> (n, h, q, d).
"""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Weights of one decoder layer; norms hold ``1 + w`` in fp32, projections are (out, in)."""

    norm_in: Tensor
    qkv: Tensor
    norm_q: Tensor
    norm_k: Tensor
    out: Tensor
    norm_attention: Tensor
    norm_mlp: Tensor
    gate_up: Tensor
    down: Tensor
    norm_out: Tensor
    local: bool


@dataclass(frozen=True, slots=True)
class Gemma3Weights:
    """All weights the grades depend on."""

    embedding: Tensor
    layers: list[LayerWeights]
    norm: Tensor
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    theta_local: float
    theta_global: float
    scale: float
    window: int


def supports(config: Any) -> bool:
    """Whether this pass can run a model of this transformers configuration."""
    return (
        config.model_type == "gemma3_text"
        and config.hidden_activation == "gelu_pytorch_tanh"
        and not getattr(config, "use_bidirectional_attention", False)
        and not config.attention_bias
        and config.rope_parameters["full_attention"]["rope_type"] == "default"
    )


def weights_of(
    model: Any, dtype: torch.dtype, projection: Callable[[Any], Tensor] | None = None
) -> Gemma3Weights:
    """The weights of a transformers ``Gemma3ForCausalLM``.

    Args:
        model: the model, adapters merged.
        dtype: of the projections, and of the embedding unless that is narrower.
        projection: weight of a linear module, where it is not plainly ``module.weight`` (training adds its adapter).
    """
    config, body = model.config, model.model
    weight = projection or (lambda module: module.weight)

    def norm(module: Any) -> Tensor:
        weight: Tensor = module.weight.detach().float()
        return 1.0 + weight

    def fused(*modules: Any) -> Tensor:
        return torch.cat([weight(module) for module in modules]).to(dtype)

    layers = [
        LayerWeights(
            norm_in=norm(layer.input_layernorm),
            qkv=fused(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            norm_q=norm(layer.self_attn.q_norm),
            norm_k=norm(layer.self_attn.k_norm),
            out=fused(layer.self_attn.o_proj),
            norm_attention=norm(layer.post_attention_layernorm),
            norm_mlp=norm(layer.pre_feedforward_layernorm),
            gate_up=fused(layer.mlp.gate_proj, layer.mlp.up_proj),
            down=fused(layer.mlp.down_proj),
            norm_out=norm(layer.post_feedforward_layernorm),
            local=kind == "sliding_attention",
        )
        for layer, kind in zip(body.layers, config.layer_types, strict=True)
    ]
    table: Tensor = body.embed_tokens.weight.detach()
    narrower = table.element_size() < dtype.itemsize  # wider it would say nothing more
    return Gemma3Weights(
        embedding=table if narrower else table.to(dtype),
        layers=layers,
        norm=norm(body.norm),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        epsilon=config.rms_norm_eps,
        theta_local=config.rope_parameters["sliding_attention"]["rope_theta"],
        theta_global=config.rope_parameters["full_attention"]["rope_theta"],
        scale=config.query_pre_attn_scalar**-0.5,
        window=config.sliding_window,
    )


def hidden_states(
    weights: Gemma3Weights,
    ids: Tensor,
    *,
    last: Tensor | None = None,
    start: int = 0,
    attend: Attend,
    before: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = None,
    after: Callable[..., Tensor] | None = None,
    tap: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Hidden states after the final norm, in fp32: (n, hidden) of each row's last token, or (n, t, hidden) of all.

    Args:
        weights: of the model.
        ids: token ids, (n, t), padded on the right.
        last: index of each row's last token, (n,): the last layer then computes these tokens alone.
        start: position of the first token of each row.
        attend: attention of one layer over each row and whatever stands before it.
        before: compiled ``before_attention``, where there is one.
        after: compiled ``after_attention``, where there is one.
        tap: called after each layer with how many layers have run and the residual stream (n, t, hidden).
    """
    residual = run_layers(
        weights,
        embedded(weights, ids),
        range(len(weights.layers)),
        last=last,
        start=start,
        attend=attend,
        before=before,
        after=after,
        tap=tap,
    )
    hidden = rms_norm(residual, weights.norm, weights.epsilon)
    return hidden[:, 0] if last is not None else hidden


def embedded(weights: Gemma3Weights, ids: Tensor) -> Tensor:
    """The residual stream (n, t, hidden) before the first layer, in fp32."""
    scale: float = weights.embedding.shape[1] ** 0.5
    return F.embedding(ids, weights.embedding).float() * scale


def run_layers(
    weights: Gemma3Weights,
    residual: Tensor,
    layers: range,
    *,
    last: Tensor | None = None,
    start: int = 0,
    attend: Attend,
    before: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = None,
    after: Callable[..., Tensor] | None = None,
    tap: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """The residual stream (n, t, hidden) after some layers; (n, 1, hidden) with ``last``.

    Args:
        weights: of the model.
        residual: the stream before the first of these layers, (n, t, hidden), rows padded on the right.
        layers: which layers are run.
        last: index of each row's last token, (n,): the last of these layers then computes these tokens alone.
        start: position of the first token of each row.
        attend, before, after, tap: as in ``hidden_states``.
    """
    n, t, _ = residual.shape
    if start + t >= weights.window:
        raise ValueError(f"{start + t} tokens do not fit the sliding window of {weights.window}")
    before, after = before or before_attention, after or after_attention
    positions = torch.arange(start, start + t, device=residual.device)
    rotations = {
        local: rotation(positions, theta, weights.head_dim)
        for local, theta in ((True, weights.theta_local), (False, weights.theta_global))
    }
    shape = (weights.heads, weights.kv_heads, weights.head_dim, weights.epsilon)
    mask = torch.full((t, t), float("-inf"), device=residual.device).triu(1)
    for index in layers:
        layer = weights.layers[index]
        cos, sin = rotations[layer.local]
        queries, keys, values = before(layer, residual, cos, sin, shape)
        if last is not None and index == layers[-1]:
            rows = torch.arange(n, device=residual.device)
            residual, queries = residual[rows, last][:, None], queries[rows, :, last][:, :, None]
            mask = mask[last][:, None, None]
        residual = after(layer, residual, attend(index, queries, keys, values, mask), weights.epsilon)
        if tap is not None:
            tap(index + 1, residual)
    return residual


def before_attention(
    layer: LayerWeights, residual: Tensor, cos: Tensor, sin: Tensor, shape: tuple[int, int, int, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries (n, h, t, d), rotated keys and values (n, kv, t, d) of a layer.

    ``shape`` is (heads, key-value heads, head dimension, norm epsilon).
    """
    heads, kv_heads, head_dim, epsilon = shape
    n, t, _ = residual.shape
    dtype = layer.qkv.dtype
    fused = F.linear(rms_norm(residual, layer.norm_in, epsilon).to(dtype), layer.qkv)
    fused = fused.view(n, t, heads + 2 * kv_heads, head_dim)
    queries, keys, values = torch.split(fused, [heads, kv_heads, kv_heads], dim=2)
    queries = rotate(rms_norm(queries.float(), layer.norm_q, epsilon), cos, sin).to(dtype)
    keys = rotate(rms_norm(keys.float(), layer.norm_k, epsilon), cos, sin).to(dtype)
    return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


def after_attention(layer: LayerWeights, residual: Tensor, attended: Tensor, epsilon: float) -> Tensor:
    """The residual stream after a layer's output projection and MLP; ``attended`` is (n, h, t, d)."""
    dtype = layer.qkv.dtype
    mixed = F.linear(attended.transpose(1, 2).flatten(2), layer.out)
    residual = residual + rms_norm(mixed.float(), layer.norm_attention, epsilon)
    gate, up = F.linear(rms_norm(residual, layer.norm_mlp, epsilon).to(dtype), layer.gate_up).chunk(2, dim=-1)
    mixed = F.linear(F.gelu(gate, approximate="tanh") * up, layer.down)
    return residual + rms_norm(mixed.float(), layer.norm_out, epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm over the last dimension, in fp32; ``weight`` holds ``1 + w``."""
    return F.rms_norm(x, (x.shape[-1],), weight, epsilon)


def rotation(positions: Tensor, theta: float, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (t, 1, head_dim) of rotary position embedding (arXiv 2104.09864), halves layout."""
    frequencies = theta ** (
        -torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    )
    angles = positions[:, None].float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)[:, None, :]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of (n, t, heads, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
