"""Two scorers on the same rows: is one better, and how sure is that? Knows scores and labels; knows no model.

Paired bootstrap: each draw of queries is scored by both, so what makes a query hard for both falls out of the
difference, and the interval is far narrower than those of the two figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csrm.evaluation.bootstrap import DRAWS, SEED, Figure, clusters, estimates
from csrm.evaluation.report import as_scores, main_figures
from csrm.evaluation.scores import Scores

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

COMPARED = {"auc_es": "auc_es", "removed_at_2pct": "at_2pct.defects_removed"}
"""Figures that are compared, and their place in a report."""


def compare(
    rows: Sequence[LabelledPair],
    a: Scores | NDArray[np.float32],
    b: Scores | NDArray[np.float32],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Any]:
    """Figures of ``a`` less those of ``b`` on the same rows, with paired 95 % intervals.

    Args:
        rows: labelled pairs, n of them.
        a: of the rows: scores, or grade probabilities (n, 4) as for ``report``.
        b: the other's.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``n``, and for ``auc_es`` and ``at_2pct.defects_removed`` (defects removed where 2 % of the relevant rows are
        lost) ``{"a": value, "b": value, "difference": {"value", "ci95": [low, high]}}``. An interval without 0 is a
        difference at the 95 % level. Null where a figure cannot be computed.

    Raises:
        InputError: as ``report``.
    """
    of_a, of_b = (main_figures(rows, as_scores(rows, scores)) for scores in (a, b))
    differences = estimates(
        {place: _less(of_a[name], of_b[name]) for name, place in COMPARED.items()},
        clusters(rows),
        draws=draws,
        seed=seed,
    )
    return {
        "n": len(rows),
        **{
            place: {"a": of_a[name].value, "b": of_b[name].value, "difference": differences[place]}
            for name, place in COMPARED.items()
        },
    }


def _less(a: Figure, b: Figure) -> Figure:
    if a.value is None or b.value is None:
        return Figure(None, a.resampled)
    return Figure(a.value - b.value, lambda weights: np.asarray(a.resampled(weights) - b.resampled(weights)))
