"""The engine for any causal LM: the transformers model, with the prefix's key-value cache shared by all products.

Slower than a lean pass, but it runs whatever transformers runs, and is what lean passes are checked against.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from csrm.scoring.engine import Engine

Layers = list[tuple[Tensor, Tensor]]


class LibraryEngine(Engine[Layers]):
    """Scores with a transformers model.

    Args:
        model: a causal LM in evaluation mode, adapters merged.
        label_ids: token id of each answer.
    """

    name = "transformers"

    def __init__(self, model: Any, label_ids: tuple[int, ...]) -> None:
        super().__init__(model.device)
        self.model = model
        self.label_rows: Tensor = model.get_output_embeddings().weight[list(label_ids)].detach().float()
        self.layers = int(model.config.num_hidden_layers)
        self.answers = len(label_ids)

    def _run_prefix(self, ids: Tensor) -> Layers:
        # Without the model's configuration the cache keeps all there is; masks see to sliding windows.
        cache: Any = DynamicCache()
        self.model.model(input_ids=ids.to(self.device), past_key_values=cache, use_cache=True)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _run_products(self, state: Layers, ids: Tensor, last: Tensor) -> Tensor:
        n, t = ids.shape
        start = state[0][0].shape[2]
        cache = DynamicCache()  # a fresh one for each batch: it takes up the batch's own keys and values
        for index, (keys, values) in enumerate(state):
            cache.update(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1), index)
        positions = torch.arange(start, start + t, device=self.device).expand(n, -1)
        hidden = self.model.model(
            input_ids=ids.to(self.device), past_key_values=cache, position_ids=positions, use_cache=True
        ).last_hidden_state
        rows: Tensor = hidden[torch.arange(n, device=self.device), last.to(self.device)]
        logits: Tensor = rows.float() @ self.label_rows.T
        return logits
