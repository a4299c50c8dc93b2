"""Grades of labelled rows by a relevance model, each query's prefix run once. Knows no figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.model import RelevanceModel

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair


def grade_rows(model: RelevanceModel, rows: Sequence[LabelledPair]) -> NDArray[np.float32]:
    """Grade probabilities (n, 4) of rows, in their order, without knowledge."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.locale, row.query].append(index)
    grades = np.empty((len(rows), 4), dtype=np.float32)
    for (locale, query), members in groups.items():
        grades[members] = model.grade(query, [rows[i].title for i in members], locale=locale)
    return grades
