"""The engine for Gemma 3: its lean pass with prefix attention as one product for all rows.

Knows how prefix and products attend, and which layers run where: torch's of ``gemma3``, or, on a CPU that has what
they need, those of ``fused``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from csrm.scoring import gemma3, integers
from csrm.scoring.cpu import lacking_kernels
from csrm.scoring.engine import Engine
from csrm.scoring.exit import ExitHead
from csrm.scoring.shares import Shares

if TYPE_CHECKING:
    from csrm.scoring.fused import FusedLayers

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Prefix:
    """Keys and values (p, d) of the layers that were run, and the residual stream (1, p, hidden) after them."""

    layers: list[tuple[Tensor, Tensor]]
    residual: Tensor


class LeanGemma3Engine(Engine[Prefix]):
    """Scores with ``csrm.scoring.gemma3``, or, where its kernels run, ``csrm.scoring.fused``.

    Args:
        model: a transformers ``Gemma3ForCausalLM`` with one key-value head, adapters merged.
        label_ids: token id of each answer.
        dtype: of the projections; the residual stream is fp32 whatever it is.
    """

    name = "lean-gemma3"

    def __init__(self, model: Any, label_ids: tuple[int, ...], dtype: torch.dtype) -> None:
        self.weights = gemma3.weights_of(model, dtype)
        super().__init__(self.weights.norm.device)
        self.label_rows: Tensor = model.get_output_embeddings().weight[list(label_ids)].detach().float()
        self.layers = len(self.weights.layers)
        self.answers = len(label_ids)
        self._exit: ExitHead | None = None
        self._shares = Shares()
        self._fused: FusedLayers | None = None
        if lacking := lacking_kernels(self.device):
            log.info("Torch's layers are used: %s", lacking)
        else:
            self._fused = self._fuse()

    def _fuse(self) -> FusedLayers:
        from csrm.scoring.fused import FusedLayers, plain  # wants numba: only where it is

        dtype = self.weights.layers[0].qkv.dtype
        return FusedLayers.of(self.weights, plain, dtype, dtype)

    def add_exit(self, head: ExitHead) -> None:
        """Give the engine an early exit."""
        self._exit, self.exit_layer = head, head.layer

    def look_up_in(self, embedding: Tensor) -> None:
        """Take the tokens' rows from another tensor that holds the same, so that the engine's own is freed."""
        self.weights = replace(self.weights, embedding=embedding)

    @staticmethod
    def supports(config: Any) -> bool:
        """Whether this engine can run a model of this transformers configuration."""
        return gemma3.supports(config) and config.num_key_value_heads == 1

    def _run_prefix(self, ids: Tensor) -> Prefix:
        state = Prefix([], gemma3.embedded(self.weights, ids.to(self.device)))
        self._run_prefix_to(state, self.exit_layer or self.layers)
        return state

    def _run_prefix_to(self, state: Prefix, layer: int) -> None:
        """Run the layers of the prefix that are not run yet, up to ``layer`` of them in all."""
        missing = range(len(state.layers), layer)
        found: list[tuple[Tensor, Tensor]] = []

        def attend(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            found.append((k[0, 0], v[0, 0]))
            return own_attention(q, k, v, self.weights.scale, mask)

        if self._fused is not None:
            residual = self._fused.run(state.residual, missing, keep=found)
        else:
            residual = gemma3.run_layers(self.weights, state.residual, missing, attend=attend)
        state.residual = residual
        state.layers.extend(found)

    def _run_products(self, state: Prefix, ids: Tensor, last: Tensor) -> Tensor:
        return self._run_to_the_end(state, gemma3.embedded(self.weights, ids.to(self.device)), 0, last)

    def _run_first(self, state: Prefix, ids: Tensor, last: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        assert self._exit is not None, "no early exit"
        last = last.to(self.device)
        residual = self._run_layers(
            state,
            gemma3.embedded(self.weights, ids.to(self.device)),
            range(self._exit.layer),
            None if keep else last,
        )
        ends = residual[torch.arange(len(last), device=self.device), last] if keep else residual[:, 0]
        return self._exit.logits(ends, self.weights.epsilon), residual

    def _run_rest(self, state: Prefix, residual: Tensor, last: Tensor) -> Tensor:
        assert self._exit is not None, "no early exit"
        return self._run_to_the_end(state, residual, self._exit.layer, last)

    def _run_to_the_end(self, state: Prefix, residual: Tensor, layer: int, last: Tensor) -> Tensor:
        self._run_prefix_to(state, self.layers)
        residual = self._run_layers(state, residual, range(layer, self.layers), last.to(self.device))
        hidden = gemma3.rms_norm(residual[:, 0], self.weights.norm, self.weights.epsilon)
        return hidden @ self.label_rows.T

    def _run_layers(self, state: Prefix, residual: Tensor, layers: range, last: Tensor | None) -> Tensor:
        """Layers of products after the prefix; on a CPU the rows are shared out over threads."""

        def run(rows: slice) -> Tensor:
            return self._run_share(state, residual[rows], layers, None if last is None else last[rows])

        n, t, _ = residual.shape
        return self._shares.run(run, n, n * t) if self.device.type == "cpu" else run(slice(0, n))

    def _run_share(self, state: Prefix, residual: Tensor, layers: range, last: Tensor | None) -> Tensor:
        start = state.residual.shape[1]
        if self._fused is not None:
            return self._fused.run(residual, layers, last=last, start=start, prefix=state.layers)

        def attend(index: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
            return prefix_attention(q, k, v, self.weights.scale, mask, *state.layers[index])

        return gemma3.run_layers(self.weights, residual, layers, last=last, start=start, attend=attend)


class IntegerGemma3Engine(LeanGemma3Engine):
    """The same in 8-bit integers, where ``csrm.scoring.integers`` lacks nothing; the embedding is bf16, and so is
    attention where the CPU has that.
    """

    def __init__(self, model: Any, label_ids: tuple[int, ...]) -> None:
        super().__init__(model, label_ids, torch.float32)
        self.weights = replace(self.weights, embedding=self.weights.embedding.bfloat16(), layers=[])

    def _fuse(self) -> FusedLayers:
        from csrm.scoring.fused import FusedLayers

        return FusedLayers.of(self.weights, integers.Projection.of, torch.uint8, integers.carried())


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
