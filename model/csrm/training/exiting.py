"""An early exit for a model that is trained already: a head that says after some layers what the model will say.

The head is a multinomial logistic regression on the residual stream of the last token, taught by the whole model's own
grades, or by the last word of model and cross-encoder, so that some of what the latter knows is said without it. The
model itself is not touched: all layers give what they always gave. Knows the trainer and the head; knows no bundle.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csrm.errors import InputError
from csrm.model import mixed
from csrm.training import relevance
from csrm.training.heads import ExitHead
from csrm.training.trainer import Trainer

log = logging.getLogger(__name__)

SHRINKAGE = 0.1
"""L2 weight of the head's rows; flat from .03 to .3 on the development rows."""


def fit_exits(
    trainer: Trainer,
    examples: Sequence[relevance.Example],
    layers: Sequence[int],
    *,
    beside: tuple[NDArray[np.float32], float] | None = None,
) -> dict[int, ExitHead]:
    """A head for each of some layers.

    Args:
        trainer: with the adapter loaded.
        examples: encoded rows, unlike the dev rows; their labels are not looked at.
        layers: how many layers run before each head.
        beside: grades (n, 4) of the rows by the cross-encoder beside the model, and its weight in the last word; null
            where there is none.

    Raises:
        InputError: there are no rows.
    """
    if not examples:
        raise InputError("An early exit needs rows to be fitted on.")
    grades, residuals = trainer.states(examples, layers)
    if beside is not None:
        grades = mixed(grades, *beside)
    return {layer: _head(residuals[layer], grades, trainer) for layer in layers}


def _head(residual: NDArray[np.float32], grades: NDArray[np.float32], trainer: Trainer) -> ExitHead:
    stream = torch.from_numpy(residual)
    normed = stream * (stream.square().mean(dim=1, keepdim=True) + trainer.epsilon).rsqrt()
    norm = 1.0 / normed.std(dim=0).clamp_min(1e-6)
    features, targets = normed * norm, torch.from_numpy(grades)
    rows = torch.zeros(targets.shape[1], features.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([rows], max_iter=200, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        optimiser.zero_grad()
        loss = relevance.loss(features @ rows.T, targets) + SHRINKAGE / 4 * rows.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(value)  # type: ignore[no-untyped-call]
    return ExitHead(norm, rows.detach())
