"""How much a model has to compute for a search at least: every token once, whatever a scorer makes of it.

Knows configurations; runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations of a decoder."""

    weights: int
    """Weights that every token is multiplied with: all matrices but the vocabulary's."""
    attention: int
    """Operations a token spends on each earlier one, over all layers."""

    @staticmethod
    def of(config: Any) -> Work:
        """Of a transformers configuration of a causal LM."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        weights = sum(
            parameter.numel()
            for name, parameter in model.named_parameters()
            if parameter.dim() == 2 and "embed_tokens" not in name and "lm_head" not in name
        )
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return Work(weights, 4 * config.num_hidden_layers * config.num_attention_heads * head_dim)

    def flops(self, prefix: int, products: Sequence[int]) -> float:
        """Of a search: the prefix once, each product once after it.

        Args:
            prefix: tokens before the product.
            products: tokens of each product, with the suffix.
        """
        tokens = prefix + sum(products)
        seen = prefix * prefix / 2 + sum(own * (prefix + own / 2) for own in products)
        return 2.0 * self.weights * tokens + self.attention * seen
