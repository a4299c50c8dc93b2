"""What a scorer says of labelled rows, in the one form that every figure is made from. Knows no labels and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from csrm.calibration import expected_gain
from csrm.errors import InputError
from csrm.evaluation.by_locale import places_of
from csrm.prompt import GRADES

if TYPE_CHECKING:
    from csrm.bundle import Bundle
    from csrm.training.data import LabelledPair

Floats = NDArray[np.float64]

GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
"""The Shopping Queries data set's own gains (arXiv 2206.06588): what nDCG counts, and the order of a scorer that
brings no gains of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Numbers of n rows. A scorer without grades (an overlap, a cosine) has one number for all three orders.

    Attributes:
        gain: (n,), higher is shown first.
        exact: (n,), higher is likelier E.
        irrelevance: (n,), higher is likelier C or I.
        probable: whether ``irrelevance`` is meant as the probability of C or I.
        grades: (n, 4) probabilities of E, S, C, I, where the scorer tells all four apart.
        thresholds: (n,), irrelevance above which the row's product is removed, where the scorer has any.
        by_all: (n,), whether all layers of a model judged the row, where the scorer is a model.
    """

    gain: Floats
    exact: Floats
    irrelevance: Floats
    probable: bool = False
    grades: NDArray[np.float32] | None = None
    thresholds: Floats | None = None
    by_all: NDArray[np.bool_] | None = None

    @classmethod
    def of_grades(
        cls,
        grades: NDArray[np.float32],
        rows: Sequence[LabelledPair] = (),
        bundle: Bundle | None = None,
    ) -> Self:
        """Of grade probabilities (n, 4).

        Args:
            grades: of the rows.
            rows: needed with a bundle: their locales choose calibrations and thresholds.
            bundle: whose gains, calibration and thresholds count. Without one, P(C or I) is taken as it is, the gains
                are the data set's, and there is no threshold.

        Raises:
            InputError: the array is not of that shape, or holds what is no probability.
        """
        if grades.ndim != 2 or grades.shape[1] != len(GRADES):
            raise InputError(
                f"grades: must be (n, 4), one column for each of E, S, C, I; it is {grades.shape}."
            )
        if not np.isfinite(grades).all() or (grades < 0).any():
            raise InputError("grades: must be probabilities; there is a negative or no number at all.")
        irrelevance = grades[:, 2:].sum(axis=1, dtype=np.float64)
        if bundle:
            for locale, places in places_of(rows).items():
                irrelevance[places] = bundle.calibration(locale).apply(irrelevance[places])
        gains = bundle.manifest.gains if bundle else GAINS
        return cls(
            gain=expected_gain(grades, [gains[grade] for grade in ("E", "S", "C", "I")]),
            exact=grades[:, 0].astype(np.float64),
            irrelevance=irrelevance,
            probable=True,
            grades=grades if (grades > 0).any(axis=0).all() else None,  # yes and no alone are no four grades
            thresholds=np.array([bundle.threshold(row.locale) for row in rows]) if bundle else None,
        )

    @classmethod
    def of_similarity(cls, similarity: Floats) -> Self:
        """Of one number a row, (n,), higher where query and product are nearer."""
        return cls(gain=similarity, exact=similarity, irrelevance=-similarity)

    def __len__(self) -> int:
        return len(self.gain)

    def __getitem__(self, chosen: NDArray[np.intp]) -> Scores:
        """Those of some rows, by their places."""
        return Scores(
            self.gain[chosen],
            self.exact[chosen],
            self.irrelevance[chosen],
            self.probable,
            None if self.grades is None else self.grades[chosen],
            None if self.thresholds is None else self.thresholds[chosen],
            None if self.by_all is None else self.by_all[chosen],
        )
