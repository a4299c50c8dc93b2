"""The engine for Gemma 3: its lean pass with prefix attention as one product for all rows.

Knows how prefix and products attend; the layers themselves are in ``gemma3``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csrm.scoring import gemma3
from csrm.scoring.engine import Engine

Layers = list[tuple[Tensor, Tensor]]


class LeanGemma3Engine(Engine[Layers]):
    """Scores with ``csrm.scoring.gemma3``.

    Args:
        model: a transformers ``Gemma3ForCausalLM`` with one key-value head, adapters merged.
        label_ids: token id of each answer.
        dtype: of the projections; the residual stream is fp32 whatever it is.
    """

    name = "lean-gemma3"

    def __init__(self, model: Any, label_ids: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.weights = gemma3.weights_of(model, dtype)
        self.label_rows: Tensor = model.get_output_embeddings().weight[list(label_ids)].detach().float()
        self.device = self.weights.norm.device

    @staticmethod
    def supports(config: Any) -> bool:
        """Whether this engine can run a model of this transformers configuration."""
        return gemma3.supports(config) and config.num_key_value_heads == 1

    def _run_prefix(self, ids: Tensor) -> Layers:
        kept: Layers = []

        def attend(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            kept.append((k[0, 0], v[0, 0]))
            return own_attention(q, k, v, self.weights.scale, mask)

        gemma3.hidden_states(self.weights, ids.to(self.device), attend=attend)
        return kept

    def _run_products(self, state: Layers, ids: Tensor, last: Tensor) -> Tensor:
        def attend(index: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            return prefix_attention(q, k, v, self.weights.scale, mask, *state[index])

        start = state[0][0].shape[0]
        hidden = gemma3.hidden_states(
            self.weights, ids.to(self.device), last=last.to(self.device), start=start, attend=attend
        )
        return hidden @ self.label_rows.T


def own_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Attention (n, h, q, d) with one key-value head; on short rows two plain batched products beat the library's."""
    n, h, t, d = q.shape
    scores = (
        torch.bmm(q.reshape(n, h * t, d), k[:, 0].transpose(1, 2)).view(n, h, t, -1).float() * scale + mask
    )
    weights = scores.softmax(-1).to(q.dtype)
    return torch.bmm(weights.view(n, h * t, -1), v[:, 0]).view(n, h, t, d)


def prefix_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor, prefix_keys: Tensor, prefix_values: Tensor
) -> Tensor:
    """The same over a prefix (p, d) too, which all rows share: its part is one product for the whole batch."""
    n, h, t, d = q.shape
    p = prefix_keys.shape[0]
    flat = q.reshape(n, h * t, d)
    own = torch.bmm(flat, k[:, 0].transpose(1, 2)).view(n, h, t, -1).float() * scale + mask
    shared = (flat.reshape(-1, d) @ prefix_keys.T).view(n, h, t, p).float() * scale
    weights = torch.cat([shared, own], dim=-1).softmax(-1).to(q.dtype)
    out = weights[..., :p].reshape(-1, p) @ prefix_values
    return out.view(n, h, t, d) + torch.bmm(weights[..., p:].reshape(n, h * t, -1), v[:, 0]).view(n, h, t, d)
