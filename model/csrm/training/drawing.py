"""A share of a file's rows, drawn by query, and soft labels from a file beside them.

Whole queries are drawn, by a hash of the query that they come from: translations of one row that stand in several files
are drawn alike. Knows rows and one file of grades; knows no recipe and no model.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError
from csrm.prompt import GRADES
from csrm.training.data import TrainingRow

GRADES_KEY = "grades"


def drawn(rows: Sequence[TrainingRow], share: float, seed: int, origin: Callable[[str], str]) -> list[int]:
    """Places of the rows of as many queries as make up a share of the rows, in their order.

    Args:
        rows: of one file.
        share: of the rows; the last query may bring a few more.
        seed: of the order in which queries are drawn.
        origin: what a query was rewritten from (``csrm.training.data.origins_of``), over all files that are to be drawn
            alike.
    """
    if share == 1:
        return list(range(len(rows)))
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[origin(row.query)].append(place)
    kept: list[int] = []
    for query in sorted(places, key=lambda query: hashlib.sha256(f"{seed}\n{query}".encode()).digest()):
        if len(kept) >= share * len(rows):
            break
        kept += places[query]
    return sorted(kept)


def read_grades(path: Path, count: int) -> NDArray[np.float32]:
    """Grade probabilities (n, 4), in the order E, S, C, I, of the rows of a file.

    Args:
        path: an NPZ file with an array ``grades``.
        count: rows of the file that they are of.

    Raises:
        InputError: the file is missing or broken, has another number of rows, or holds what is no distribution.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            found = np.asarray(content[GRADES_KEY], dtype=np.float32)
    except FileNotFoundError as error:
        raise InputError(f"grades: {path} does not exist.") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"grades: {path} is no NPZ file with an array named {GRADES_KEY}: {error}"
        ) from error
    if found.shape != (count, len(GRADES)):
        raise InputError(
            f"grades: {path} holds {found.shape}, but its source has {count} rows: it must be ({count}, 4), a line of "
            "P(E), P(S), P(C), P(I) for each row."
        )
    wrong = ~np.isfinite(found).all(axis=1) | (found < 0).any(axis=1) | (abs(found.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"grades: {path}, row {first + 1}: {found[first].tolist()} are no probabilities that sum to 1."
        )
    return found
