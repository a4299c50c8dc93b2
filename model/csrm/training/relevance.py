"""The relevance task: (query, knowledge, product) rows with grades, and the loss at the last position.

Knows tokens and the loss; knows no loop and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csrm.prompt import GRADES, PromptEncoder
from csrm.training.data import LabelledPair


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded row: token ids and the target distribution over the grades E, S, C, I."""

    ids: list[int]
    target: tuple[float, float, float, float]


def encode(
    rows: Sequence[LabelledPair], knowledge: Sequence[Sequence[str]], encoder: PromptEncoder
) -> list[Example]:
    """Rows as the served prompt has them.

    Args:
        rows: labelled pairs.
        knowledge: lines of knowledge of each row, possibly none.
        encoder: the prompt of the bundle to be.
    """
    products = encoder.products([row.title for row in rows])
    return [
        Example(
            ids=encoder.prefix(row.query, locale=row.locale, knowledge=lines) + product,
            target=tuple(float(row.label == grade) for grade in GRADES),  # type: ignore[arg-type]
        )
        for row, lines, product in zip(rows, knowledge, products, strict=True)
    ]


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (n, t) padded on the right, index of each row's last token (n,), targets (n, 4).

    No attention mask is needed: attention is causal, and what is read stands before the padding.
    """
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    for i, example in enumerate(examples):
        ids[i, : len(example.ids)] = torch.tensor(example.ids)
    last = torch.tensor([len(example.ids) - 1 for example in examples])
    return ids, last, torch.tensor([example.target for example in examples])


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the grades with hard or soft targets, both (n, 4)."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()
