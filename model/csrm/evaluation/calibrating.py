"""Calibration and thresholds of a model on clean rows, and what those rows say of them.

Knows rows and probabilities; knows no model and no bundle. The single fits are ``csrm.calibration``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.calibration import Calibration, fit_threshold, loss_bound
from csrm.errors import InputError, MissingExtraError
from csrm.evaluation.bootstrap import clusters
from csrm.evaluation.by_locale import (
    ENOUGH_RELEVANT,
    defects_of,
    enough_for_a_fit,
    fit_calibrations,
    places_of,
)
from csrm.evaluation.figures import calibration_error

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

Floats = NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """A threshold, and what it does to the rows it was chosen on.

    Attributes:
        threshold: irrelevance above which a product is removed; 1.0 where the rows are too few to promise.
        relevant: rows with label E or S.
        lost: relevant rows above the threshold.
        bound: largest true share of relevant products that may be lost, with 95 % confidence.
        defects: rows with label C or I.
        removed: defects above the threshold.
    """

    threshold: float
    relevant: int
    lost: int
    bound: float
    defects: int
    removed: int


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """What was fitted.

    Attributes:
        calibration: of P(C or I), of all rows.
        calibrations: of each locale with ``ENOUGH_RELEVANT`` relevant and ``ENOUGH_DEFECTS`` irrelevant rows.
        pooled: threshold of all rows under ``calibration``; its promise holds for the mix of locales in them.
        by_locale: of each locale with ``ENOUGH_RELEVANT`` relevant rows, under its own calibration if it has one.
        ece_before: calibration error of the rows under the calibration that was there.
        ece_after: under the new one, each row by a calibration that did not see its query; null where the rows are too
            few for that.
    """

    calibration: Calibration
    calibrations: dict[str, Calibration]
    pooled: Promise
    by_locale: dict[str, Promise]
    ece_before: float
    ece_after: float | None


def calibrate_rows(
    rows: Sequence[LabelledPair], defect: Floats, *, before: Floats, max_loss: float = 0.02
) -> CalibrationFit:
    """Fit calibration and thresholds.

    Args:
        rows: labelled pairs that were never trained on.
        defect: the model's raw P(C or I) of each, (n,).
        before: irrelevance of each by the calibration that was there, (n,).
        max_loss: largest share of relevant products that a threshold may remove, with 95 % confidence.

    Raises:
        InputError: all rows are of one kind, or the scores contradict the labels.
    """
    is_defect = defects_of(rows)
    fitted = fit_calibrations(rows, defect, enough_for_a_fit(rows))
    irrelevance = fitted.apply(rows, defect)
    return CalibrationFit(
        calibration=fitted.pooled,
        calibrations=fitted.own,
        pooled=_promise(fitted.pooled.apply(defect), is_defect, max_loss),
        by_locale={
            locale: _promise(irrelevance[own], is_defect[own], max_loss)
            for locale, own in places_of(rows).items()
            if (~is_defect[own]).sum() >= ENOUGH_RELEVANT
        },
        ece_before=_error(is_defect, before),
        ece_after=_error_on_unseen(rows, defect, list(fitted.own)),
    )


def _promise(irrelevance: Floats, is_defect: NDArray[np.bool_], max_loss: float) -> Promise:
    # Rounded up, so that no row that was to be kept is above it.
    threshold = min(1.0, np.ceil(fit_threshold(irrelevance, ~is_defect, max_loss=max_loss) * 1e6) / 1e6)
    removed = irrelevance > threshold
    relevant, lost = int((~is_defect).sum()), int((removed & ~is_defect).sum())
    return Promise(
        threshold=float(threshold),
        relevant=relevant,
        lost=lost,
        bound=0.0 if threshold == 1.0 else loss_bound(lost, relevant),
        defects=int(is_defect.sum()),
        removed=int((removed & is_defect).sum()),
    )


def _error_on_unseen(rows: Sequence[LabelledPair], defect: Floats, apart: Sequence[str]) -> float | None:
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise MissingExtraError("sklearn", "train") from error
    cluster = clusters(rows)
    if len(np.unique(cluster)) < FOLDS:
        return None
    unseen = np.empty(len(defect))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0).split(defect, groups=cluster)
    try:
        for seen, left_out in folds:
            fitted = fit_calibrations([rows[i] for i in seen], defect[seen], apart)
            unseen[left_out] = fitted.apply([rows[i] for i in left_out], defect[left_out])
    except InputError:  # a fold without one kind of rows
        return None
    return _error(defects_of(rows), unseen)


def _error(is_defect: NDArray[np.bool_], irrelevance: Floats) -> float:
    value = calibration_error(is_defect, irrelevance).value
    assert value is not None  # there are rows: a calibration was fitted on them
    return value
