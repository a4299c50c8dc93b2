"""Each figure of an evaluation: its value by scikit-learn, and the same under many weightings of the rows at once.

scikit-learn takes one weighting a call; a bootstrap wants a thousand. The weighted forms below are scikit-learn's
definitions written for weights (b, n), and the tests hold them to scikit-learn's own ``sample_weight``. Knows numbers
and truths; knows no rows and no intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csrm.errors import MissingExtraError
from csrm.evaluation.bootstrap import Figure

try:
    from sklearn.metrics import average_precision_score, f1_score, ndcg_score, roc_auc_score, roc_curve
except ImportError as error:
    raise MissingExtraError("sklearn", "train") from error

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

BINS = 10
"""Of equal width, for the calibration error and the reliability plot."""


def roc_auc(truth: Truth, scores: Floats) -> Figure:
    """Area under the ROC curve of ``scores`` (n,), higher where ``truth`` (n,) is likelier."""

    def resampled(weights: Floats) -> Floats:
        hits, misses = _cumulated(truth, scores, weights)
        area = (np.diff(misses, axis=1) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(axis=1)
        return _over(area, hits[:, -1] * misses[:, -1])

    return Figure(float(roc_auc_score(truth, scores)) if _both(truth) else None, resampled)


def pr_auc(truth: Truth, scores: Floats) -> Figure:
    """Average precision: the area under the curve of precision over recall, as scikit-learn sums it."""

    def resampled(weights: Floats) -> Floats:
        hits, misses = _cumulated(truth, scores, weights)
        precision = _over(hits[:, 1:], hits[:, 1:] + misses[:, 1:])
        area = np.nansum(np.diff(hits, axis=1) * precision, axis=1)
        return _over(area, hits[:, -1])

    return Figure(float(average_precision_score(truth, scores)) if _both(truth) else None, resampled)


def removed_at_loss(relevant: Truth, irrelevance: Floats, loss: float) -> Figure:
    """Share of defects removed by the threshold that loses exactly the share ``loss`` of the relevant rows.

    Between two thresholds the curve of defects removed against relevant lost is followed in a straight line, so that
    the figure does not jump with the number of rows.
    """
    value = None
    if _both(relevant):
        lost, removed, _ = roc_curve(~relevant, irrelevance, drop_intermediate=False)
        value = float(np.interp(loss, lost, removed))

    def resampled(weights: Floats) -> Floats:
        removed, lost = _cumulated(~relevant, irrelevance, weights)
        removed, lost = _over(removed, removed[:, -1:]), _over(lost, lost[:, -1:])
        # The last point that loses no more; the curve may rise there, so the line goes on from its end.
        last = np.clip((lost <= loss).sum(axis=1) - 1, 0, lost.shape[1] - 2)[:, None]
        x0, x1 = np.take_along_axis(lost, last, 1), np.take_along_axis(lost, last + 1, 1)
        y0, y1 = np.take_along_axis(removed, last, 1), np.take_along_axis(removed, last + 1, 1)
        part = np.clip(np.where(x1 > x0, (loss - x0) / (x1 - x0), 1), 0, 1)
        return np.asarray((y0 + part * (y1 - y0) + 0 * lost[:, -1:])[:, 0])  # none where nothing is relevant

    return Figure(value, resampled)


def share(of: Truth, among: Truth) -> Figure:
    """Share of the rows ``among`` (n,) that are in ``of`` (n,)."""
    both, all_ = (of & among).astype(np.float64), among.astype(np.float64)
    return Figure(
        float(both.sum() / all_.sum()) if among.any() else None,
        lambda weights: _over(weights @ both, weights @ all_),
    )


def micro_f1(labels: NDArray[np.str_], predicted: NDArray[np.str_]) -> Figure:
    """F1 over all rows; with one label a row it is the share that is right."""
    right = share(labels == predicted, np.ones(len(labels), dtype=np.bool_))
    value = float(f1_score(labels, predicted, average="micro")) if len(labels) else None
    return Figure(value, right.resampled)


def macro_f1(labels: NDArray[np.str_], predicted: NDArray[np.str_], grades: Sequence[str]) -> Figure:
    """Mean of the F1 of each grade; a grade that neither stands in the rows nor is given does not count."""
    given = labels[:, None] == np.array(grades)
    said = predicted[:, None] == np.array(grades)
    twice, sums = 2.0 * (given & said), given.astype(np.float64) + said

    def resampled(weights: Floats) -> Floats:
        return np.asarray(np.nanmean(_over(weights @ twice, weights @ sums), axis=1))

    value = None
    if len(labels):
        value = float(f1_score(labels, predicted, labels=list(grades), average="macro", zero_division=np.nan))
    return Figure(value, resampled)


def ndcg(groups: Sequence[NDArray[np.intp]], gains: Floats, scores: Floats, k: int) -> Figure:
    """Mean nDCG@k (linear gains, equal scores averaged over their orders).

    Args:
        groups: places of each query's rows; queries of one row, or without anything to gain, do not count.
        gains: of each row's label, (n,).
        scores: (n,), higher is shown first.
        k: rows that are shown.
    """
    asked = [places for places in groups if len(places) > 1 and gains[places].any()]
    each = np.array([ndcg_score(gains[None, places], scores[None, places], k=k) for places in asked])
    first = np.array([places[0] for places in asked], dtype=np.intp)  # all rows of a query have one weight

    def resampled(weights: Floats) -> Floats:
        return _over(weights[:, first] @ each, weights[:, first].sum(axis=1))

    return Figure(float(each.mean()) if asked else None, resampled)


def calibration_error(truth: Truth, probability: Floats) -> Figure:
    """Expected calibration error (arXiv 1706.04599): mean distance of said and true share, over bins of equal width.

    scikit-learn has no such figure; its ``calibration_curve`` has the same bins.
    """
    inside = bin_of(probability)[:, None] == np.arange(BINS)
    off = inside * (probability - truth)[:, None]

    def resampled(weights: Floats) -> Floats:
        return _over(np.abs(weights @ off).sum(axis=1), weights.sum(axis=1))

    value = float(resampled(np.ones((1, len(truth))))[0]) if len(truth) else None
    return Figure(value, resampled)


def bin_of(probability: Floats) -> NDArray[np.intp]:
    """The bin of each probability, (n,), from 0."""
    return np.minimum((probability * BINS).astype(np.intp), BINS - 1)


def _cumulated(truth: Truth, scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of true and of false rows at or above each distinct score, highest first, (b, g + 1) from 0 on."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    sorted_weights = weights[:, order]
    true = np.cumsum(sorted_weights * truth[order], axis=1)[:, ends]
    false = np.cumsum(sorted_weights * ~truth[order], axis=1)[:, ends]
    return np.pad(true, ((0, 0), (1, 0))), np.pad(false, ((0, 0), (1, 0)))


def _both(truth: Truth) -> bool:
    return bool(truth.any() and not truth.all())


def _over(above: Floats, below: Floats) -> Floats:
    """The quotient; not a number where there is nothing to divide by."""
    return np.asarray(above / np.where(below == 0, np.nan, below))
