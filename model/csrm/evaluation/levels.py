"""What a bundle says of labelled rows at each level: the cost of judging with the first layers. Knows no figures.

At ``balanced`` a row goes through all layers where its early irrelevance lies near the threshold, as in serving, or
where it is among the contenders for a page, who are as large a share of the rows as of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError
from csrm.evaluation.by_locale import places_of
from csrm.evaluation.grading import Knowledge, grade_rows
from csrm.evaluation.scores import Floats, Scores
from csrm.model import RelevanceModel
from csrm.wire import Level

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair


def need_level(name: str, level: Level, there_is: Level = "full") -> None:
    """Raise InputError where a scorer of this name would judge at another level than the one asked for."""
    if level not in ("full", there_is):
        raise InputError(f"level: {name} has no early exit: leave level out, or say full.")


def scores_at(
    model: RelevanceModel,
    rows: Sequence[LabelledPair],
    knowledge: Knowledge | None,
    level: Level,
    on_scored: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of rows at a level, with the thresholds that count there.

    Args:
        model: with an early exit where the level is not ``full``.
        rows: labelled pairs; the labels are not looked at.
        knowledge: asked once a query; none where null.
        level: how deep the rows are judged.
        on_scored: called after each query with the number of its rows.
    """
    thresholds = np.array([model.threshold(row.locale, level) for row in rows])
    grades = grade_rows(
        model, rows, knowledge, level="full" if level == "full" else "fast", on_graded=on_scored
    )
    by_all = np.full(len(rows), level == "full")
    if level == "balanced" and (early_exit := model.bundle.manifest.exit) is not None:
        by_all = early_exit.rule.goes_on_of_rows(_irrelevance(model, rows, grades, by_all), thresholds)
        on = np.flatnonzero(by_all).tolist()
        grades[on] = grade_rows(model, [rows[i] for i in on], knowledge)
    return replace(
        Scores.of_grades(grades, rows, model.bundle),
        irrelevance=_irrelevance(model, rows, grades, by_all),
        thresholds=thresholds,
        by_all=by_all,
    )


def _irrelevance(
    model: RelevanceModel,
    rows: Sequence[LabelledPair],
    grades: NDArray[np.float32],
    by_all: NDArray[np.bool_],
) -> Floats:
    """As the model says it in serving, (n,), each row by the calibration of its locale and depth."""
    found = np.empty(len(rows))
    for locale, places in places_of(rows).items():
        found[places] = model.irrelevance(grades[places], by_all[places], locale=locale)
    return found
