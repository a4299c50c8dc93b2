"""Figures of a relevance model on labelled rows. Knows grades and labels; knows no model.

The rest of an evaluation (intervals, nDCG, calibration error, baselines) has its place beside this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrm.errors import MissingExtraError


def report(
    grades: NDArray[np.float32],
    irrelevance: NDArray[np.float64],
    labels: Sequence[str],
    thresholds: NDArray[np.float64],
) -> dict[str, Any]:
    """Figures of some rows; null where they cannot be computed.

    Args:
        grades: probabilities of E, S, C, I, (n, 4).
        irrelevance: calibrated P(C or I), (n,).
        labels: E, S, C or I of each row.
        thresholds: irrelevance above which each row's product is removed, (n,).

    Returns:
        ``n``; ``auc_e`` (E against the rest) and ``auc_es`` (E and S against C and I), areas under the ROC curve;
        ``at_threshold`` with the shares ``relevant_kept`` and ``defects_removed``; ``at_2pct`` with the share
        ``defects_removed`` at the most aggressive threshold that loses at most 2 % of these relevant rows.
    """
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingExtraError("sklearn", "train") from error
    given = np.array(list(labels))
    relevant = np.isin(given, ["E", "S"])
    removed = irrelevance > thresholds
    worst = np.sort(irrelevance[relevant])[::-1]
    at_2pct = irrelevance > worst[int(0.02 * len(worst))] if len(worst) else removed

    def auc(truth: NDArray[np.bool_], scores: NDArray[Any]) -> float | None:
        return None if truth.all() or not truth.any() else float(roc_auc_score(truth, scores))

    def share(of: NDArray[np.bool_]) -> float | None:
        return float(of.mean()) if len(of) else None

    return {
        "n": len(given),
        "auc_e": auc(given == "E", grades[:, 0]),
        "auc_es": auc(relevant, -irrelevance),
        "at_threshold": {
            "relevant_kept": share(~removed[relevant]),
            "defects_removed": share(removed[~relevant]),
        },
        "at_2pct": {"defects_removed": share(at_2pct[~relevant])},
    }
