"""From grade probabilities to an irrelevance that means what it says, and to thresholds that keep a promise.

Knows probabilities and labels; knows no model. Applying needs nothing heavy; fitting needs the ``train`` extra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from csrm.errors import InputError, MissingExtraError

Floats = NDArray[np.float64]

_EPSILON = 1e-6


class Calibration(BaseModel):
    """Platt scaling (1999) of P(C or I): ``sigmoid(slope * logit(p) + offset)``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float = Field(default=1.0, gt=0)
    offset: float = 0.0

    def apply(self, defect: Floats) -> Floats:
        """Calibrated irrelevance (n,) of the model's raw P(C or I) (n,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * logit(defect) + self.offset))))


def fit_calibration(defect: Floats, is_defect: NDArray[np.bool_]) -> Calibration:
    """Platt scaling fitted on clean rows.

    Args:
        defect: raw P(C or I) of each row, (n,).
        is_defect: whether its label is C or I, (n,).

    Raises:
        InputError: all rows are of one class.
    """
    if is_defect.all() or not is_defect.any():
        raise InputError(
            "Calibration needs relevant (E, S) and irrelevant (C, I) rows: all rows here are of one kind."
        )
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("sklearn", "train") from error
    logits = logit(defect)
    centre, spread = (
        logits.mean(),
        max(float(logits.std()), _EPSILON),
    )  # the solver wants scores of common size
    fit = LogisticRegression(C=1e6).fit((logits - centre)[:, None] / spread, is_defect)
    slope = float(fit.coef_[0, 0]) / spread
    if slope <= 0:
        raise InputError("The scores fall where irrelevance rises: these labels do not fit this model.")
    return Calibration(slope=round(slope, 6), offset=round(float(fit.intercept_[0] - slope * centre), 6))


def fit_threshold(
    irrelevance: Floats, is_relevant: NDArray[np.bool_], *, max_loss: float = 0.02, confidence: float = 0.95
) -> float:
    """The most aggressive threshold whose loss of relevant products keeps a promise.

    Learn then test (arXiv 2110.01052) with fixed-sequence testing: thresholds are tried from the mildest on, and each
    is kept while the exact binomial (Clopper-Pearson) upper bound of its loss is at most ``max_loss``. The first that
    fails ends the search, so that trying many costs no confidence: the chance that the true loss of the threshold that
    is returned exceeds ``max_loss`` is at most ``1 - confidence``, whatever the model and however many rows there are.

    It holds for products that are drawn as the rows were: for the same mix of locales and queries, and row by row
    independent. Many rows of one query count for fewer than they are.

    Args:
        irrelevance: calibrated irrelevance of clean rows, (n,).
        is_relevant: whether the label is E or S, (n,).
        max_loss: largest share of relevant products that may be removed.
        confidence: of the promise.

    Returns:
        The threshold: products above it are removed. 1.0 (remove nothing) where the rows are too few to promise.
    """
    relevant = np.sort(irrelevance[is_relevant])[::-1]
    threshold = 1.0
    for lost in range(len(relevant)):
        # Just above the next relevant row, `lost` relevant rows are removed.
        if loss_bound(lost, len(relevant), confidence) > max_loss:
            break
        threshold = float(relevant[lost])
    return threshold


def loss_bound(lost: int, relevant: int, confidence: float = 0.95) -> float:
    """Exact binomial (Clopper-Pearson) upper bound of the true share of relevant products lost.

    Args:
        lost: relevant rows that a threshold removes.
        relevant: all relevant rows.
        confidence: that the true share is no higher.
    """
    try:
        from scipy.stats import beta
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    return 1.0 if lost >= relevant else float(beta.ppf(confidence, lost + 1, relevant - lost))


def fewest_relevant(max_loss: float, confidence: float = 0.95) -> int:
    """Relevant rows from which a promise can be kept at all: with fewer, even none lost says too little."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - max_loss))


def expected_gain(probabilities: NDArray[np.float32], gains: Sequence[float]) -> Floats:
    """Score (n,) from grade probabilities (n, 4): the gain that showing the product is expected to bring."""
    return probabilities.astype(np.float64) @ np.asarray(gains, dtype=np.float64)


def logit(p: Floats | float) -> Floats:
    """Log odds of probabilities, kept finite at 0 and 1."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
