"""The plain way: every prompt whole, padded, through the transformers model. A peer, and the yardstick of agreement.

Knows transformers' models; knows nothing of our engines, so that they can be checked against it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from csrm.benchmark.agreement import Scores, gain
from csrm.benchmark.peak import DTYPES
from csrm.benchmark.weights import Weights
from csrm.benchmark.workload import Search
from csrm.encoder.cross_encoder import CrossEncoder
from csrm.prompt import GRADES

BATCH = 16


class PlainTransformers:
    """What the model cards of LLM rerankers show: ``model(**inputs).logits[:, -1, answers]``."""

    name = "transformers"
    reading = "gain"

    def __init__(self, weights: Weights, precision: str, device: str) -> None:
        self.precision = precision
        self._gains = weights.gains
        self._model = load_model(weights, precision, device)
        self._encoder = weights.encoder()
        self._answers = weights.answer_ids()
        self._lock = threading.Lock()

    def __call__(self, search: Search) -> Scores:
        with self._lock:  # a model is for one caller at a time
            return gain(self.logits(search), self._gains)

    def flops(self, search: Search, whole: float) -> float:
        return whole

    def logits(self, search: Search, **options: Any) -> Scores:
        """Logits (n, answers) of the answers, best answer first; ``options`` are the model's own."""
        prefix = self._encoder.prefix(search.query, locale=search.locale)
        prompts = [prefix + product for product in self._encoder.products(search.products)]
        rows = [self._batch(prompts[at : at + BATCH], options) for at in range(0, len(prompts), BATCH)]
        return np.concatenate(rows)

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[Sequence[int]], options: dict[str, Any]) -> Scores:
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):  # padded on the left: the last position is always a token
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        device = self._model.device
        logits = self._model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **options
        ).logits
        return np.asarray(logits[:, -1, self._answers].double().cpu().numpy())


def load_model(weights: Weights, precision: str, device: str) -> Any:
    """The causal LM in evaluation mode."""
    model: Any = AutoModelForCausalLM.from_pretrained(weights.folder, dtype=DTYPES[precision])
    return model.to(device).eval()


def reference(weights: Weights, device: str, searches: Sequence[Search]) -> list[Scores]:
    """The fp32 logits (n, answers) that every scorer's order is compared with."""
    plain = PlainTransformers(weights, "fp32", device)
    return [plain.logits(search, logits_to_keep=1) for search in searches]


def last_word(
    weights: Weights, device: str, searches: Sequence[Search], logits: Sequence[Scores]
) -> list[Scores]:
    """These logits with the word of the bundle's cross-encoder, in fp32: what our own scorers' order is compared with.

    Peers run the language model alone, ours what is shipped.
    """
    part, path = weights.bundle.manifest.encoder, weights.bundle.encoder_path
    if part is None or path is None:
        return list(logits)
    encoder = CrossEncoder.load(path, "fp32", torch.device(device))
    columns = [GRADES.index(weights.template.labels[answer]) for answer in weights.answers]
    found = []
    for search, own in zip(searches, logits, strict=True):
        said = encoder.logits(encoder.encode(search.query, search.products)).double().log_softmax(-1).cpu()
        alone = torch.from_numpy(own).log_softmax(-1)
        found.append(((1 - part.weight) * alone + part.weight * said[:, columns]).numpy())
    return found
