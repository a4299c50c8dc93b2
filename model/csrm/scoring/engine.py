"""What every scoring engine does: one prefix, many products, the logits of the answers.

Knows the interface and the shared walk over batches; knows no architecture, no prompt and no calibration.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csrm.errors import CsrmError, DeadlineExceededError
from csrm.scoring.batching import batches

PrefixState = TypeVar("PrefixState")

BATCH_TOKENS = 1024
"""Most product tokens of one forward pass, padding included; flat from 512 to 2,048 on two cores."""

_CACHED_PREFIXES = 32


class NotFiniteError(CsrmError):
    """The model gave a number that is none: the weights are broken, or the precision does not suit them."""


class Engine(ABC, Generic[PrefixState]):
    """Logits of the answers for many products after one shared prefix.

    A subclass runs the prefix once (``_run_prefix``) and a padded batch of products after it (``_run_products``).
    Not thread-safe: one caller at a time.
    """

    name: str

    def __init__(self) -> None:
        self._prefixes: OrderedDict[tuple[int, ...], PrefixState] = OrderedDict()

    @torch.inference_mode()
    def label_logits(
        self,
        prefix: Sequence[int],
        products: Sequence[Sequence[int]],
        *,
        deadline: float | None = None,
        timings: dict[str, float] | None = None,
    ) -> NDArray[np.float32]:
        """Logits (n, answers) in fp32 at the last token of each product.

        Args:
            prefix: token ids of the query's part.
            products: token ids of each product, suffix included.
            deadline: ``time.monotonic()`` seconds after which the work is worthless.
            timings: filled with milliseconds of ``prefix`` and ``products``.

        Raises:
            DeadlineExceededError: the deadline passed; checked before every batch.
            NotFiniteError: a logit is not a finite number.
        """
        started = time.perf_counter()
        state = self._prefix(tuple(prefix))
        prefixed = time.perf_counter()
        out: NDArray[np.float32] | None = None
        for rows in batches([len(ids) for ids in products], BATCH_TOKENS):
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceededError("The deadline passed before every product was judged.")
            ids, last = _padded([products[i] for i in rows])
            logits = self._run_products(state, ids, last).float().cpu().numpy()
            if out is None:
                out = np.empty((len(products), logits.shape[1]), dtype=np.float32)
            out[rows] = logits
        if out is None:
            return np.empty((0, 0), dtype=np.float32)
        if not np.isfinite(out).all():
            raise NotFiniteError(
                "The model gave a score that is not a number: check the adapter, or try precision fp32."
            )
        if timings is not None:
            timings["prefix"] = (prefixed - started) * 1e3
            timings["products"] = (time.perf_counter() - prefixed) * 1e3
        return out

    def _prefix(self, ids: tuple[int, ...]) -> PrefixState:
        """The prefix's state, kept for the next page or the next batch of the same query."""
        if ids in self._prefixes:
            self._prefixes.move_to_end(ids)
            return self._prefixes[ids]
        state = self._run_prefix(torch.tensor([ids]))
        self._prefixes[ids] = state
        if len(self._prefixes) > _CACHED_PREFIXES:
            self._prefixes.popitem(last=False)
        return state

    @abstractmethod
    def _run_prefix(self, ids: Tensor) -> PrefixState:
        """Keys and values of the prefix, ids (1, p)."""

    @abstractmethod
    def _run_products(self, state: PrefixState, ids: Tensor, last: Tensor) -> Tensor:
        """Logits (n, answers) of products (n, t), padded on the right, at each row's ``last`` token (n,)."""


def _padded(products: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(products), max(map(len, products)), dtype=torch.long)
    for i, product in enumerate(products):
        ids[i, : len(product)] = torch.tensor(product)
    return ids, torch.tensor([len(product) - 1 for product in products])
