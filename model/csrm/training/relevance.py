"""The relevance task: (query, knowledge, product) rows with grades, and the loss at the last position.

Knows tokens and the loss; knows no loop and no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from csrm.prompt import GRADES, PromptEncoder
from csrm.training.data import LabelledPair


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded row.

    Attributes:
        ids: token ids of the whole prompt.
        target: a distribution over the grades E, S, C, I; or, where it sums to more than one, a 1 for each grade
            that the row may have.
        annotator: who gave the label.
    """

    ids: list[int]
    target: tuple[float, float, float, float]
    annotator: str = "human"


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
            target=tuple(float(grade in row.label) for grade in GRADES),  # type: ignore[arg-type]
            annotator=row.label_by,
        )
        for row, lines, product in zip(rows, knowledge, products, strict=True)
    ]


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (n, t) padded on the right, index of each row's last token (n,), targets (n, 4).

    No attention mask is needed: attention is causal, and what is read stands before the padding.
    """
    longest = max(len(example.ids) for example in examples)
    ids = torch.tensor([example.ids + [0] * (longest - len(example.ids)) for example in examples])
    last = torch.tensor([len(example.ids) - 1 for example in examples])
    return ids, last, torch.tensor([example.target for example in examples])


def relevant_auc(relevant: NDArray[np.bool_], grades: NDArray[np.float32]) -> float:
    """ROC-AUC of E and S against C and I.

    Args:
        relevant: which rows are E or S, (n,).
        grades: probabilities of E, S, C and I, (n, 4).

    Returns:
        nan where all rows are of one kind.
    """
    if relevant.all() or not relevant.any():
        return math.nan
    return float(roc_auc_score(relevant, grades[:, :2].sum(axis=1)))


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the grades, both (n, 4).

    A target that is a distribution counts by its weights; one that names several grades wants the sum of their
    probabilities, whichever of them it is.
    """
    logs = logits.log_softmax(-1)
    several = targets.sum(-1) > 1.5
    summed = (logs + targets.clamp_min(1e-30).log()).logsumexp(-1)
    weighed = (targets * logs).sum(-1)
    return -torch.where(several, summed, weighed).mean()
