"""A trained cross-encoder: its file, and grades of products for a query.

Knows files, tokens and rows; knows no language model beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from csrm.encoder.bert import Tensors, base_of, changes_of, grade_logits, weights_of
from csrm.encoder.e5 import E5File, installed
from csrm.errors import BundleError
from csrm.prompt import GRADES
from csrm.scoring.batching import batches
from csrm.scoring.pace import BATCH_TOKENS, Pace
from csrm.scoring.shares import Shares

MAX_TOKENS = 128
"""Of a pair; the longer side is cut, and of the query's the notes first."""

Asked = tuple[str, Sequence[str], str]
"""A query, what is told of it, best first, and a product."""


class CrossEncoder:
    """Grades products for a query, all in one pass over both. Thread-safe.

    Attributes:
        layers: of the encoder.
        pace: how long its batches take.

    Args:
        file: the untrained encoder, whose vocabulary and tokenizer it has.
        changes: what training made of it.
        precision: of the linear maps: ``fp32``, ``bf16``, or ``int8``, where ``csrm.scoring.integers`` lacks nothing.
        device: where it computes.
    """

    def __init__(self, file: E5File, changes: Tensors, precision: str, device: torch.device) -> None:
        self.device, self._file = device, file
        self.tokenizer = pair_tokenizer(file)
        self.layers, self.pace, self._shares = file.shape.layers, Pace(), Shares()
        self._hidden = file.shape.hidden
        weights = weights_of(
            {name: tensor.to(device) for name, tensor in base_of(file).items()},
            {name: tensor.to(device) for name, tensor in changes.items()},
            file.shape,
            torch.bfloat16 if precision == "bf16" else torch.float32,
        )
        parts = (part for one in weights.layers for part in (one.qkv, one.out, one.inner, one.outer))
        self._linear = sum(part.weight.numel() for part in parts)
        self._pass: Callable[[Tensor, Tensor], Tensor] = partial(grade_logits, weights)
        if precision == "int8":
            from csrm.encoder.integers import IntegerLayers  # wants numba: only where it is

            self._pass = IntegerLayers(weights).grade_logits

    @classmethod
    def load(cls, path: Path, precision: str, device: torch.device) -> CrossEncoder:
        """That of a bundle.

        Args:
            path: its file.
            precision: of the language model beside it.
            device: where it computes.

        Raises:
            BundleError, BaseModelError, MissingExtraError: as ``read_changes`` and ``installed`` say.
        """
        file = installed()
        return cls(file, read_changes(path, file), precision, device)

    def encode(self, query: str, products: Sequence[str], knowledge: Sequence[str] = ()) -> list[list[int]]:
        """Token ids of the query, with what is told of it, and each product, at most ``MAX_TOKENS``."""
        return encode_pairs(self.tokenizer, [(query, knowledge, product) for product in products])

    def logits(self, pairs: Sequence[Sequence[int]]) -> Tensor:
        """Logits (n, 4) of E, S, C, I, in fp32, of one batch of pairs, which is padded to the longest."""
        ids, lengths = padded(pairs)

        def run(rows: slice) -> Tensor:
            words = word_rows(self._file, ids[rows]).to(self.device)
            return self._pass(words, lengths[rows].to(self.device))

        n, t = ids.shape
        with torch.inference_mode():
            return self._shares.run(run, n, n * t) if self.device.type == "cpu" else run(slice(0, n))

    def grades(self, pairs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Probabilities (n, 4) of E, S, C, I, of any number of pairs."""
        return graded(pairs, BATCH_TOKENS, lambda places: self.logits([pairs[i] for i in places]))

    def flops(self, pairs: Sequence[Sequence[int]]) -> float:
        """Operations that a pass over pairs takes at least."""
        lengths = [len(ids) for ids in pairs]
        attention = 4 * self.layers * self._hidden * sum(length**2 for length in lengths)
        return float(2 * self._linear * sum(lengths) + attention)


def graded(
    pairs: Sequence[Sequence[int]], budget: int, logits: Callable[[Sequence[int]], Tensor]
) -> NDArray[np.float32]:
    """Probabilities (n, 4) of E, S, C, I, batch by batch.

    Args:
        pairs: token ids.
        budget: most tokens of a batch.
        logits: those (m, 4) of the pairs at m places.
    """
    found = np.empty((len(pairs), len(GRADES)), dtype=np.float32)
    for places in batches([len(ids) for ids in pairs], budget):
        found[places] = logits(places).softmax(-1).cpu().numpy()
    return found


def read_changes(path: Path, file: E5File) -> dict[str, Tensor]:
    """What training made of the encoder, in fp32.

    Raises:
        BundleError: the file is missing or broken, or for another encoder; the message names what is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}, the bundle's cross-encoder, cannot be read: {error}") from error
    ranks = {tensor.shape[0] for name, tensor in found.items() if name.endswith(".A")}
    rank = ranks.pop() if len(ranks) == 1 else 0
    for name, shape in changes_of(file.shape, rank).items():
        if name not in found or tuple(found[name].shape) != shape:
            have = tuple(found[name].shape) if name in found else "missing"
            raise BundleError(f"{path}, {name}: {have}, not of the shape {shape} that this encoder needs.")
        if not torch.isfinite(found[name]).all():
            raise BundleError(f"{path}, {name}: holds what is no number; write the file anew.")
    return found


def weight_of(path: Path) -> float:
    """The weight of an encoder beside a language model, as its training wrote it; 0 where the file does not say.

    Raises:
        BundleError: the file is broken, or says what is no weight.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            weight = float((opened.metadata() or {}).get("weight", 0))
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not 0 <= weight < 1:
        raise BundleError(f"{path}: its weight is {weight:g}, and must be from 0 to less than 1.")
    return weight


def pair_tokenizer(file: E5File) -> Tokenizer:
    """The encoder's tokenizer, which cuts pairs that are too long."""
    found = file.tokenizer
    found.enable_truncation(MAX_TOKENS, strategy="longest_first")
    return found


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Asked]) -> list[list[int]]:
    """Token ids of queries and their products, said as e5 was trained to hear them; notes come in brackets."""
    said = [
        (f"query: {query} ({'; '.join(notes)})" if notes else f"query: {query}", f"passage: {product}")
        for query, notes, product in pairs
    ]
    return [encoding.ids for encoding in tokenizer.encode_batch(said)]


def padded(pairs: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (n, t), padded on the right, and how many each row has (n,)."""
    lengths = [len(ids) for ids in pairs]
    found = torch.zeros(len(pairs), max(lengths), dtype=torch.long)
    for i, ids in enumerate(pairs):
        found[i, : len(ids)] = torch.tensor(ids)
    return found, torch.tensor(lengths)


def word_rows(file: E5File, ids: Tensor) -> Tensor:
    """Rows of the vocabulary (n, t, hidden) of token ids (n, t), each unpacked once."""
    unique, places = np.unique(ids.numpy(), return_inverse=True)
    return torch.from_numpy(file.words(unique))[torch.from_numpy(places.reshape(ids.shape))]
