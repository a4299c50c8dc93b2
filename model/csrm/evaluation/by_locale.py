"""Calibration by locale: its own where a locale has rows enough, the pooled one elsewhere.

Knows rows and probabilities; knows no model and no bundle. The single fit is ``csrm.calibration``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.calibration import Calibration, Floats, fit_calibration
from csrm.errors import InputError

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

ENOUGH_RELEVANT = 500
"""Relevant rows from which a locale gets a threshold of its own. With 200, the promise of 2 % allows no more than
one lost row, and the bound, not the model, decides how little is removed."""

ENOUGH_DEFECTS = 100
"""Irrelevant rows that a locale must have beside these for a calibration of its own: with fewer, the share of them is
known to within some 20 % of itself, and the fit would follow chance more than the locale."""


@dataclass(frozen=True, slots=True)
class LocaleCalibrations:
    """A calibration of all rows, and those of the locales that have their own."""

    pooled: Calibration
    own: dict[str, Calibration]

    def apply(self, rows: Sequence[LabelledPair], defect: Floats) -> Floats:
        """Calibrated irrelevance (n,) of the model's raw P(C or I) (n,), each row by that of its locale."""
        found = np.empty(len(rows))
        for locale, places in places_of(rows).items():
            found[places] = self.own.get(locale, self.pooled).apply(defect[places])
        return found


def places_of(rows: Sequence[LabelledPair]) -> dict[str, NDArray[np.intp]]:
    """Places of the rows of each locale, locales in order."""
    locales = np.array([row.locale for row in rows])
    return {locale: np.flatnonzero(locales == locale) for locale in sorted(set(locales.tolist()))}


def enough_for_a_fit(rows: Sequence[LabelledPair]) -> list[str]:
    """The locales whose rows are enough for a calibration of their own."""
    is_defect = defects_of(rows)
    return [
        locale
        for locale, places in places_of(rows).items()
        if (~is_defect[places]).sum() >= ENOUGH_RELEVANT and is_defect[places].sum() >= ENOUGH_DEFECTS
    ]


def defects_of(rows: Sequence[LabelledPair]) -> NDArray[np.bool_]:
    """Whether the label of each row is C or I, (n,)."""
    return np.array([row.label in "CI" for row in rows], dtype=np.bool_)


def fit_calibrations(
    rows: Sequence[LabelledPair], defect: Floats, apart: Collection[str]
) -> LocaleCalibrations:
    """Fit the pooled calibration, and that of some locales.

    A locale whose scores contradict its labels keeps to the pooled calibration.

    Args:
        rows: clean rows.
        defect: the model's raw P(C or I) of each, (n,).
        apart: the locales that are to have their own.

    Raises:
        InputError: all rows are of one kind, or all scores together contradict the labels.
    """
    is_defect = defects_of(rows)
    own = {}
    for locale, places in places_of(rows).items():
        if locale in apart:
            try:
                own[locale] = fit_calibration(defect[places], is_defect[places])
            except InputError:
                continue
    return LocaleCalibrations(fit_calibration(defect, is_defect), own)
