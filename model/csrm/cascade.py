"""The cascade's rule: which products the first layers are not sure enough of, so that they go through all layers.

Knows irrelevance, scores and labels; knows no model. Applying needs nothing heavy; fitting needs the ``train`` extra.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from csrm.calibration import Calibration, Floats, logit
from csrm.errors import InputError, MissingExtraError

Mask = NDArray[np.bool_]

EVERYTHING = 100.0
"""A margin in logits that no product lies beyond."""

WINDOW = 100
"""Products of a search among which the page's contenders are, where there are labelled rows and no window."""

_STEPS = 26

MOVES = tuple(np.arange(-2, 1.25, 0.25).tolist())
"""Logits by which a profile or a search may move the threshold. What a rule costs is its mean over them: at any single
threshold it would hang on a few rows."""

MORE_LOST = 0.05
"""How many more relevant products than by all layers may be lost at moved thresholds, for each that is lost there."""


class ExitRule(BaseModel):
    """A product goes on through all layers when its early irrelevance lies near the threshold, or when it is a
    contender for the page. The rule that was never fitted lets every product go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    below: float = Field(
        default=EVERYTHING, ge=0, description="Logits under the threshold from which on a product goes on."
    )
    above: float = Field(
        default=EVERYTHING, ge=0, description="Logits over the threshold up to which it does."
    )
    page: int = Field(
        default=10, ge=0, description="So many products with the best early scores go on if they may be kept."
    )

    def goes_on(self, irrelevance: Floats, scores: Floats, threshold: float) -> Mask:
        """Which products of one query go on, (n,).

        Args:
            irrelevance: calibrated, of the early exit, (n,).
            scores: of the early exit, (n,).
            threshold: irrelevance above which a product is removed.
        """
        return self._goes_on(logit(irrelevance) - logit(threshold), -scores, self.page)

    def goes_on_of_rows(self, irrelevance: Floats, thresholds: Floats) -> Mask:
        """Which labelled rows go on, (n,): as in a window, where the contenders are ``page`` of ``WINDOW`` products.

        Rows hold a few products a query, all of which would be contenders for its page. So the contenders are as large
        a share of all rows, those that are furthest under their thresholds.

        Args:
            irrelevance: calibrated, of the early exit, (n,).
            thresholds: irrelevance above which each is removed, (n,).
        """
        distance = logit(irrelevance) - logit(thresholds)
        return self._goes_on(distance, distance, round(len(distance) * self.page / WINDOW))

    def _goes_on(self, distance: Floats, order: Floats, page: int) -> Mask:
        kept = distance <= self.above
        chosen = kept & (distance >= -self.below)
        best = np.argsort(order, kind="stable")
        chosen[best[kept[best]][:page]] = True
        return chosen


def fit_rule(
    early: Floats,
    full: Floats,
    thresholds: Floats,
    is_defect: Mask,
    *,
    max_auc_loss: float = 0.005,
    max_removed_loss: float = 0.01,
    page: int = 10,
) -> ExitRule:
    """The rule that lets the fewest products go on while the answers stay nearly as good as those of all layers.

    At the rows' own thresholds the mixed irrelevance removes no more relevant products than that of all layers, so
    that the promise of the threshold holds. On average over thresholds moved by ``MOVES``, for the band moves with the
    one that is asked for, it loses at most ``max_auc_loss`` of the ROC-AUC of relevant against irrelevant and at most
    ``max_removed_loss`` of the share of irrelevant products removed, and ``MORE_LOST`` bounds the relevant ones.

    Who goes on is counted as where half of the products are irrelevant: a window has more of them than labelled rows.
    The page's contenders go on as in a window (``ExitRule.goes_on_of_rows``): what all layers say of them is known
    whatever the band.

    Args:
        early: calibrated irrelevance by the early exit of clean rows, (n,).
        full: the same by all layers, (n,).
        thresholds: irrelevance above which each row's product is removed, (n,).
        is_defect: whether its label is C or I, (n,).
        max_auc_loss: most that the ROC-AUC may fall.
        max_removed_loss: most that the share of removed irrelevant products may fall.
        page: as in ``ExitRule``.

    Raises:
        InputError: all rows are of one class.
    """
    if is_defect.all() or not is_defect.any():
        raise InputError(
            "The cascade needs relevant (E, S) and irrelevant (C, I) rows: all rows are of one kind."
        )
    distance = logit(early) - logit(thresholds)
    asked = [Calibration(offset=move).apply(thresholds) for move in MOVES]

    def lost(irrelevance: Floats, limits: Floats) -> int:
        return int((irrelevance > limits)[~is_defect].sum())

    def removed(irrelevance: Floats, limits: Floats) -> float:
        return float((irrelevance > limits)[is_defect].mean())

    whole_auc = roc_auc(full, is_defect)
    whole_removed = float(np.mean([removed(full, limits) for limits in asked]))
    most_lost = (1 + MORE_LOST) * sum(lost(full, limits) for limits in asked)

    def by(rule: ExitRule, limits: Floats) -> Floats:
        return np.where(rule.goes_on_of_rows(early, limits), full, early)

    def holds(rule: ExitRule) -> bool:
        if lost(by(rule, thresholds), thresholds) > lost(full, thresholds):
            return False
        mixed = [(by(rule, limits), limits) for limits in asked]
        return bool(
            sum(lost(*at) for at in mixed) <= most_lost
            and np.mean([removed(*at) for at in mixed]) >= whole_removed - max_removed_loss
            and np.mean([roc_auc(irrelevance, is_defect) for irrelevance, _ in mixed])
            >= whole_auc - max_auc_loss
        )

    def cost(rule: ExitRule) -> float:
        on = rule.goes_on_of_rows(early, thresholds)
        return float(on[is_defect].mean() + on[~is_defect].mean())

    rules = [
        ExitRule(below=below, above=above, page=page)
        for below, above in product(_margins(-distance), _margins(distance))
    ]
    return next((rule for rule in sorted(rules, key=cost) if holds(rule)), ExitRule(page=page))


def _margins(distance: Floats) -> list[float]:
    """Margins to try: none, evenly many rows more with each, and all."""
    beyond = distance[distance > 0]
    steps = np.quantile(beyond, np.linspace(0, 1, _STEPS)).tolist() if len(beyond) else []
    return [0.0, *(round(step, 4) for step in steps), EVERYTHING]


def roc_auc(irrelevance: Floats, is_defect: Mask) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic, ties counting half."""
    try:
        from scipy.stats import rankdata
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    defects = int(is_defect.sum())
    ranks = float(rankdata(irrelevance)[is_defect].sum())
    return (ranks - defects * (defects + 1) / 2) / (defects * (len(is_defect) - defects))
