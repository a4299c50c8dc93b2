"""An evaluation from files to reports: a scorer alone, or beside another on the same rows.

Knows the order of things and the shape of the whole result; each figure lives in its own module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrm.errors import InputError
from csrm.evaluation.compare import compare
from csrm.evaluation.report import parts, report
from csrm.evaluation.scorers import OnScored, Scorer, Told
from csrm.evaluation.scores import Scores
from csrm.training.data import read_pairs
from csrm.wire import Level

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair


@dataclass(frozen=True, slots=True)
class Scored:
    """A scorer's numbers of all rows, how fast they came, what it was told of the queries, how deep it judged and in
    which precision (null where it has no weights)."""

    name: str
    scores: Scores
    pairs_per_second: float
    knowledge: Told
    level: Level
    precision: str | None


def read_files(paths: Sequence[Path]) -> dict[Path, list[LabelledPair]]:
    """The rows of each file.

    Raises:
        InputError: a file is named twice, missing, empty, or a row is wrong.
    """
    if twice := {str(path) for path in paths if paths.count(path) > 1}:
        raise InputError(f"data: {', '.join(sorted(twice))} is named twice.")
    return {path: read_pairs(path) for path in paths}


def scored(scorer: Scorer, rows: Sequence[LabelledPair], on_scored: OnScored) -> Scored:
    """Let a scorer score the rows, and time it."""
    began = time.perf_counter()
    scores = scorer.score(rows, on_scored)
    speed = len(rows) / (time.perf_counter() - began)
    return Scored(scorer.name, scores, speed, scorer.knowledge, scorer.level, scorer.precision)


def results(
    files: Mapping[Path, Sequence[LabelledPair]], one: Scored, other: Scored | None = None
) -> dict[str, Any]:
    """The reports of a scorer on each file, each locale and all rows, and what parts it from another.

    Args:
        files: rows by file.
        one: of all rows, in the files' order.
        other: to set beside it.

    Returns:
        ``{"scorer", "knowledge", "level", "precision", "all_layers", "pairs_per_second", "files": {stem: REPORT},
        "locales": {locale: REPORT}, "all": REPORT}``, where ``knowledge`` says what the scorer was told (``none``,
        ``bundle`` or ``wrong``), ``precision`` is null where there are no weights, and ``all_layers`` is the share of
        the rows that all layers judged, null where there are none. With ``other`` also ``"against"``, the same of the
        other, and ``"differences"``, with what ``compare`` gives in the place of each REPORT.
    """
    found = _reports(files, one)
    if other is None:
        return found
    rows = [row for part in files.values() for row in part]
    differences = {
        section: {
            name: compare([rows[i] for i in places], one.scores[places], other.scores[places])
            for name, places in named.items()
        }
        for section, named in parts(files).items()
    }
    return {**found, "against": _reports(files, other), "differences": differences | differences["all"]}


def _reports(files: Mapping[Path, Sequence[LabelledPair]], one: Scored) -> dict[str, Any]:
    rows = [row for part in files.values() for row in part]
    found = {
        section: {
            name: report([rows[i] for i in places], one.scores[places]) for name, places in named.items()
        }
        for section, named in parts(files).items()
    }
    by_all = one.scores.by_all
    return {
        "scorer": one.name,
        "knowledge": one.knowledge,
        "level": one.level,
        "precision": one.precision,
        "all_layers": None if by_all is None else round(float(by_all.mean()), 4),
        "pairs_per_second": round(one.pairs_per_second, 1),
        **found,
        **found["all"],
    }
