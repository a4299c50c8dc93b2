"""The report of a scorer on labelled rows: every figure with a 95 % interval. Knows scores and labels; knows no model.

The same report is made of files, of locales and of all rows together; ``compare`` sets two scorers side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError
from csrm.evaluation import figures
from csrm.evaluation.bootstrap import DRAWS, SEED, Figure, clusters, estimates
from csrm.evaluation.by_locale import places_of
from csrm.evaluation.scores import GAINS, Scores
from csrm.prompt import GRADES
from csrm.training.data import normalise

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

Report = dict[str, Any]

LOSS = 0.02
"""Share of relevant products that ``at_2pct`` loses."""
SHOWN = 10
"""Products that nDCG looks at."""


def report(
    rows: Sequence[LabelledPair],
    scores: Scores | NDArray[np.float32],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Report:
    """Figures of a scorer on some rows.

    Args:
        rows: labelled pairs, n of them.
        scores: of the rows, or grade probabilities (n, 4) alone: then P(C or I) is taken as it is, and ``at_threshold``
            stays empty. Arrays that were saved earlier need no model.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``n``; ``auc_e`` (E against the rest) and ``auc_es`` (E and S against C and I), areas under the ROC curve;
        ``pr_auc_defect``, average precision of finding C and I; ``micro_f1`` and ``macro_f1`` of the likeliest grade;
        ``ndcg10`` of queries with several rows; ``ece`` of P(C or I); ``at_threshold`` with the shares
        ``relevant_kept`` and ``defects_removed``; ``at_2pct`` with the share ``defects_removed`` where exactly 2 % of
        these relevant rows are lost. Every figure is ``{"value", "ci95": [low, high]}``, null where it cannot be
        computed; intervals are a bootstrap over queries (``bootstrap.clusters``).

    Raises:
        InputError: rows and scores differ in number, or the array is no (n, 4) of probabilities.
    """
    scores = as_scores(rows, scores)
    found = estimates(_all_figures(rows, scores), clusters(rows), draws=draws, seed=seed)
    return {
        "n": len(rows),
        **{name: found[name] for name in ("auc_e", "auc_es", "pr_auc_defect", "micro_f1", "macro_f1")},
        **{name: found[name] for name in ("ndcg10", "ece")},
        "at_threshold": {name: found[name] for name in ("relevant_kept", "defects_removed")},
        "at_2pct": {"defects_removed": found["removed_at_2pct"]},
    }


def main_figures(rows: Sequence[LabelledPair], scores: Scores) -> dict[str, Figure]:
    """The figures that scorers are compared by, not yet resampled."""
    relevant = np.array([row.label in "ES" for row in rows], dtype=np.bool_)
    return {
        "auc_es": figures.roc_auc(relevant, -scores.irrelevance),
        "removed_at_2pct": figures.removed_at_loss(relevant, scores.irrelevance, LOSS),
    }


def _all_figures(rows: Sequence[LabelledPair], scores: Scores) -> dict[str, Figure]:
    """Every figure of a report by its name; empty where the scorer has no number for it."""
    labels = np.array([row.label for row in rows], dtype="<U1")
    relevant = np.isin(labels, ["E", "S"])
    nothing = Figure(None, lambda weights: np.full(len(weights), np.nan))
    found = dict.fromkeys(("micro_f1", "macro_f1", "ece", "relevant_kept", "defects_removed"), nothing)
    if scores.grades is not None:
        likeliest = np.array(GRADES)[scores.grades.argmax(axis=1)]
        found |= {
            "micro_f1": figures.micro_f1(labels, likeliest),
            "macro_f1": figures.macro_f1(labels, likeliest, GRADES),
        }
    if scores.probable:
        found["ece"] = figures.calibration_error(~relevant, scores.irrelevance)
    if scores.thresholds is not None:
        removed = scores.irrelevance > scores.thresholds
        found |= {
            "relevant_kept": figures.share(~removed, relevant),
            "defects_removed": figures.share(removed, ~relevant),
        }
    gains = np.array([GAINS[label] for label in labels])
    return found | {
        "auc_e": figures.roc_auc(labels == "E", scores.exact),
        **main_figures(rows, scores),
        "pr_auc_defect": figures.pr_auc(~relevant, scores.irrelevance),
        "ndcg10": figures.ndcg(_by_query(rows), gains, scores.gain, SHOWN),
    }


def as_scores(rows: Sequence[LabelledPair], scores: Scores | NDArray[np.float32]) -> Scores:
    """``scores`` as such, checked against the rows.

    Raises:
        InputError: they differ in number, or an array is no (n, 4) of probabilities.
    """
    made = scores if isinstance(scores, Scores) else Scores.of_grades(scores)
    if len(made) != len(rows):
        raise InputError(f"grades: {len(made)} for {len(rows)} rows; score these rows anew.")
    return made


def parts(files: Mapping[Path, Sequence[LabelledPair]]) -> dict[str, dict[str, NDArray[np.intp]]]:
    """What is reported on: places of the rows by section (``files``, ``locales``, ``all``) and name.

    A file goes by its stem; those of one stem go by folder and stem, and else by their whole path.
    """
    rows = [row for part in files.values() for row in part]
    source = np.repeat(np.arange(len(files)), [len(part) for part in files.values()])
    return {
        "files": {name: np.flatnonzero(source == i) for i, name in enumerate(_names(list(files)))},
        "locales": places_of(rows),
        "all": {"all": np.arange(len(rows))},
    }


def _names(paths: Sequence[Path]) -> list[str]:
    stems = [path.name.removesuffix(".gz").removesuffix(".jsonl") for path in paths]
    longer = [f"{path.resolve().parent.name}/{stem}" for path, stem in zip(paths, stems, strict=True)]
    choices = zip(stems, longer, map(str, paths), strict=True)
    return [
        stem if stems.count(stem) == 1 else long if longer.count(long) == 1 else whole
        for stem, long, whole in choices
    ]


def _by_query(rows: Sequence[LabelledPair]) -> list[NDArray[np.intp]]:
    places: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault((row.locale, normalise(row.query)), []).append(place)
    return [np.array(found, dtype=np.intp) for found in places.values()]
