"""The early exit's part of a bundle, fitted on clean rows, and what each level does to them.

Knows rows and probabilities; knows no model and no bundle's folder. The single fits are ``csrm.calibration``'s and
``csrm.cascade``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from csrm.bundle import EarlyExit
from csrm.calibration import Floats, fit_threshold
from csrm.cascade import Mask, fit_rule, roc_auc
from csrm.errors import InputError, MissingExtraError
from csrm.evaluation.bootstrap import clusters
from csrm.evaluation.by_locale import defects_of, fit_calibrations
from csrm.wire import Level

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

FOLDS = 5


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """What a level does to clean rows.

    Attributes:
        auc: area under the ROC curve of relevant (E, S) against irrelevant (C, I).
        removed: share of the irrelevant rows above the threshold.
        lost: share of the relevant rows above the threshold.
        all_layers: share of rows that go through all layers.
    """

    auc: float
    removed: float
    lost: float
    all_layers: float


@dataclass(frozen=True, slots=True)
class CascadeFit:
    """What was fitted. ``levels`` has balanced as rules do that were fitted to ``FOLDS - 1`` parts of the queries, on
    the queries of the part left out."""

    exit: EarlyExit
    levels: dict[Level, LevelFigures]


def fit_cascade(
    rows: Sequence[LabelledPair],
    early: Floats,
    full: Floats,
    thresholds: Floats,
    *,
    before: EarlyExit,
    apart: Collection[str] = (),
    max_loss: float = 0.02,
) -> CascadeFit:
    """Fit the exit's calibrations, its threshold and the rule of who goes on.

    Args:
        rows: labelled pairs that were never trained on.
        early: raw P(C or I) of each by the exit, or by the cross-encoder before the first layer, (n,).
        full: calibrated irrelevance of each by all layers, (n,).
        thresholds: irrelevance above which each is removed, (n,).
        before: layer and page are taken from it.
        apart: the locales that have a calibration of their own.
        max_loss: largest share of relevant products that level fast may remove, with 95 % confidence.

    Raises:
        InputError: all rows are of one kind, or the exit's scores contradict the labels.
    """
    is_defect = defects_of(rows)
    fitted = fit_calibrations(rows, early, apart)
    irrelevance = fitted.apply(rows, early)
    # Rounded up, so that no row that was to be kept is above it.
    threshold = min(
        1.0, float(np.ceil(fit_threshold(irrelevance, ~is_defect, max_loss=max_loss) * 1e6) / 1e6)
    )
    page = before.rule.page
    rule = fit_rule(irrelevance, full, thresholds, is_defect, page=page)
    on = _going_on(rows, irrelevance, full, thresholds, is_defect, page)
    nobody = np.zeros(len(rows), dtype=np.bool_)
    return CascadeFit(
        before.model_copy(
            update={
                "calibration": fitted.pooled,
                "calibrations": fitted.own,
                "threshold": threshold,
                "rule": rule,
            }
        ),
        {
            "fast": _figures(irrelevance, np.full(len(rows), threshold), is_defect, nobody),
            "balanced": _figures(np.where(on, full, irrelevance), thresholds, is_defect, on),
            "full": _figures(full, thresholds, is_defect, ~nobody),
        },
    )


def _going_on(
    rows: Sequence[LabelledPair],
    early: Floats,
    full: Floats,
    thresholds: Floats,
    is_defect: Mask,
    page: int,
) -> Mask:
    """Who goes on by a rule that did not see their query; all, where the rows are too few to fit one."""
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise MissingExtraError("sklearn", "train") from error
    on = np.ones(len(rows), dtype=np.bool_)
    cluster = clusters(rows)
    if len(np.unique(cluster)) < FOLDS:
        return on
    try:
        for seen, left_out in GroupKFold(FOLDS, shuffle=True, random_state=0).split(early, groups=cluster):
            rule = fit_rule(early[seen], full[seen], thresholds[seen], is_defect[seen], page=page)
            on[left_out] = rule.goes_on_of_rows(early[left_out], thresholds[left_out])
    except InputError:  # a fold without one kind of rows
        return np.ones(len(rows), dtype=np.bool_)
    return on


def _figures(irrelevance: Floats, thresholds: Floats, is_defect: Mask, on: Mask) -> LevelFigures:
    removed = irrelevance > thresholds
    return LevelFigures(
        auc=roc_auc(irrelevance, is_defect),
        removed=float(removed[is_defect].mean()),
        lost=float(removed[~is_defect].mean()),
        all_layers=float(on.mean()),
    )
