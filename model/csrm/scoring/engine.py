"""What every scoring engine does: one prefix, then batches of products, the logits of the answers.

Knows the interface, padding and the prefixes kept; knows no architecture, no prompt, no calibration, and not which
products come when (that is ``walk``).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csrm.encoder.cross_encoder import CrossEncoder
from csrm.errors import CsrmError, OutOfMemoryError
from csrm.scoring.pace import BATCH_TOKENS, GPU_BATCH_TOKENS, Pace

PrefixState = TypeVar("PrefixState")

Logits = NDArray[np.float32]

CACHED_PREFIXES = 32
"""Prefixes that an engine keeps; the one that was not asked for longest goes first."""


class NotFiniteError(CsrmError):
    """The model gave a number that is none: the weights are broken, or the precision does not suit them."""


class Engine(ABC, Generic[PrefixState]):
    """Logits of the answers for batches of products after one shared prefix.

    A subclass runs the prefix (``_run_prefix``) and a padded batch of products after it (``_run_products``); one
    with an early exit also runs them in two parts (``_run_first``, ``_run_rest``). Thread-safe: one batch runs at a
    time.

    Attributes:
        layers: of the model.
        answers: how many answers have logits.
        batch_tokens: most tokens of a batch, padding included.
        exit_layer: how many layers run before the early exit; null where there is none.
        encoder: the cross-encoder beside the model, which judges early where ``exit_layer`` is 0.
        pace: how long its batches take.
    """

    name: str
    layers: int
    answers: int
    exit_layer: int | None = None
    encoder: CrossEncoder | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.batch_tokens = BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS
        self._prefixes: OrderedDict[tuple[int, ...], PrefixState] = OrderedDict()
        self._lock = threading.Lock()
        self.pace = Pace()

    def add_encoder(self, encoder: CrossEncoder, *, first: bool) -> None:
        """Put a cross-encoder beside the model; ``first``: it judges early, before the first layer."""
        self.encoder = encoder
        if first:
            self.exit_layer = 0

    @property
    def first(self) -> CrossEncoder | None:
        """The cross-encoder where it judges early."""
        return self.encoder if self.exit_layer == 0 else None

    def prefix(self, ids: Sequence[int]) -> PrefixState:
        """The prefix's state, kept for the next page or the next batch of the same query."""
        key = tuple(ids)
        with self._lock, _memory_named(), torch.inference_mode():
            if key in self._prefixes:
                self._prefixes.move_to_end(key)
                return self._prefixes[key]
            state = self._run_prefix(torch.tensor([key]))
            self._prefixes[key] = state
            if len(self._prefixes) > CACHED_PREFIXES:
                self._prefixes.popitem(last=False)
            return state

    def full(self, state: PrefixState, products: Sequence[Sequence[int]]) -> Logits:
        """Logits (n, answers) in fp32 at the last token of each product, all layers run.

        Raises:
            NotFiniteError: a logit is not a finite number.
            OutOfMemoryError: the batch needs more memory than there is.
        """
        ids, last = _padded(products)
        with self._lock, _memory_named(), torch.inference_mode():
            return _finite(self._run_products(state, ids, last))

    def beside(self, pairs: Sequence[Sequence[int]]) -> Logits:
        """Logits (n, 4) of E, S, C, I by the cross-encoder, of the query with each product."""
        assert self.encoder is not None, "no cross-encoder"
        with self._lock, _memory_named():
            return _finite(self.encoder.logits(pairs))

    def early(
        self, state: PrefixState, products: Sequence[Sequence[int]], *, keep: bool
    ) -> tuple[Logits, list[Tensor]]:
        """Logits (n, 4) of E, S, C, I after the first layers, and, with ``keep``, what ``rest`` goes on from."""
        ids, last = _padded(products)
        with self._lock, _memory_named(), torch.inference_mode():
            logits, residual = self._run_first(state, ids, last, keep)
            kept = (
                [row[: len(product)] for row, product in zip(residual, products, strict=True)] if keep else []
            )
            return _finite(logits), kept

    def rest(self, state: PrefixState, residuals: Sequence[Tensor]) -> Logits:
        """Logits (n, answers) of products whose first layers were run: ``early``'s residuals (t, hidden) of each."""
        with self._lock, _memory_named(), torch.inference_mode():
            padded = torch.nn.utils.rnn.pad_sequence(list(residuals), batch_first=True)
            last = torch.tensor([len(residual) - 1 for residual in residuals])
            return _finite(self._run_rest(state, padded, last))

    @abstractmethod
    def _run_prefix(self, ids: Tensor) -> PrefixState:
        """Keys and values of the prefix, ids (1, p)."""

    @abstractmethod
    def _run_products(self, state: PrefixState, ids: Tensor, last: Tensor) -> Tensor:
        """Logits (n, answers) of products (n, t), padded on the right, at each row's ``last`` token (n,)."""

    def _run_first(self, state: PrefixState, ids: Tensor, last: Tensor, keep: bool) -> tuple[Tensor, Any]:
        """Logits (n, 4) after the first layers and, with ``keep``, the residual stream (n, t, hidden) there."""
        raise NotImplementedError(f"{self.name} has no early exit")

    def _run_rest(self, state: PrefixState, residual: Tensor, last: Tensor) -> Tensor:
        """Logits (n, answers) from residuals (n, t, hidden) of the early exit."""
        raise NotImplementedError(f"{self.name} has no early exit")


@contextmanager
def _memory_named() -> Iterator[None]:
    """What torch raises in several shapes where memory runs out becomes one error.

    Raises:
        OutOfMemoryError: an allocation failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate" in said):
            raise
        raise OutOfMemoryError(
            "There is not enough memory for a batch now: send fewer products, or give the machine more."
        ) from error


def softmax(logits: Logits) -> Logits:
    """Probabilities (n, answers) of logits; rows that are NaN stay so."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _padded(products: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(products), max(map(len, products)), dtype=torch.long)
    for i, product in enumerate(products):
        ids[i, : len(product)] = torch.tensor(product)
    return ids, torch.tensor([len(product) - 1 for product in products])


def _finite(logits: Tensor) -> Logits:
    found: Logits = logits.float().cpu().numpy()
    if not np.isfinite(found).all():
        raise NotFiniteError(
            "The model gave a score that is not a number: check the adapter, or try precision fp32."
        )
    return found
