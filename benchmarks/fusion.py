"""Does a fusion of the model's grades with an embedding's cosine and the overlap of letters judge better?

    python -m benchmarks.fusion FILE... [--fit LOCALE] [--bundle B | --grades G.npz] [--saved SIGNALS.npy] [--json OUT]

A logistic regression of E and S against C and I, fitted on the rows of one language and tested on all the others,
beside the model alone; without --fit, each language is tested with weights fitted on all the others. A row is never
tested with weights that were fitted on it, on its query or on a translation of it: these are left out of the fit, a
fifth at a time. `own` is fitted on the very language it is tested on: what a shop with labels could win at best.
Grades are the bundle's, with its knowledge; or those that `benchmarks.ablation` saved of the same rows (--grades).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from csrm.bundle import DEFAULT_BUNDLE
from csrm.calibration import logit
from csrm.errors import InputError
from csrm.evaluation.bootstrap import clusters
from csrm.evaluation.compare import compare
from csrm.evaluation.run import read_files
from csrm.evaluation.scorers import load_scorer
from csrm.evaluation.scores import Scores
from csrm.training.data import LabelledPair

Floats = NDArray[np.float64]

FOLDS = 5
GRADES = [0, 1, 2, 3]
COSINE, OVERLAP, ODDS = 4, 5, 6
FUSIONS = {
    "odds + cosine": [ODDS, COSINE],
    "odds + overlap": [ODDS, OVERLAP],
    "odds + cosine + overlap": [ODDS, COSINE, OVERLAP],
    "grades + cosine + overlap": [*GRADES, COSINE, OVERLAP],
    "cosine + overlap": [COSINE, OVERLAP],
}
"""Columns of the signals that each takes. ``odds``: log odds of C or I by the model, one number in place of four."""


def signals(rows: Sequence[LabelledPair], grades: NDArray[np.float32]) -> Floats:
    """(n, 7): log-probabilities of E, S, C, I by the model, cosine, overlap, log odds of C or I by the model."""
    alike = [load_scorer(what).score(rows, lambda _: None).gain for what in ("embedding", "overlap")]
    logs = np.log(np.clip(grades.astype(np.float64), 1e-6, 1))
    return np.column_stack([logs, *alike, logit(grades[:, 2:].sum(axis=1, dtype=np.float64))])


def graded(rows: Sequence[LabelledPair], bundle: str, saved: Path | None) -> NDArray[np.float32]:
    """Grade probabilities (n, 4) of the rows: a bundle's, or those that were saved."""
    if saved is None:
        grades = load_scorer(bundle).score(rows, lambda _: None).grades
        if grades is None:
            raise InputError(f"{bundle} does not tell four grades apart.")
        return grades
    with np.load(saved) as kept:
        if "dev_none" not in kept or kept["dev_none"].shape != (len(rows), 4):
            raise InputError(
                f"{saved} holds no dev_none of shape ({len(rows)}, 4): name the files it was made of."
            )
        return np.asarray(kept["dev_none"])


def fused(
    features: Floats, is_defect: NDArray[np.bool_], folds: NDArray[np.intp], fit: NDArray[np.bool_]
) -> Floats:
    """Probability of C or I of every row, (n,), by weights fitted on the rows of ``fit`` in other folds than its own.

    Args:
        features: (n, f).
        is_defect: whether the label is C or I, (n,).
        folds: of each row, (n,), from 0.
        fit: rows to fit on, (n,).

    Raises:
        InputError: the rows to fit on are all of one kind.
    """
    said = np.empty(len(features))
    for fold in range(int(folds.max()) + 1):
        seen = fit & (folds != fold)
        if len(np.unique(is_defect[seen])) < 2:
            raise InputError("fit: both relevant (E, S) and irrelevant (C, I) rows are needed in every fold.")
        logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
        logistic.fit(features[seen], is_defect[seen])
        said[folds == fold] = logistic.predict_proba(features[folds == fold])[:, 1]
    return said


def measure(files: Mapping[Path, Sequence[LabelledPair]], known: Floats, fit: str | None) -> dict[str, Any]:
    """``{fusion: {part: {"fused": compare(fused, model), "own": the same}}}``; parts are files, folders and all.

    Args:
        files: rows by file.
        known: their signals, in the files' order.
        fit: locale that is fitted on and not tested; each one's others where null.
    """
    rows = [row for part in files.values() for row in part]
    is_defect = np.array([row.label in "CI" for row in rows])
    folds = clusters(rows) % FOLDS
    locales = np.array([row.locale for row in rows])
    if fit is not None and fit not in locales:
        raise InputError(f"fit: there are no rows of {fit}.")
    model = known[:, ODDS]
    result: dict[str, Any] = {}
    for name, columns in FUSIONS.items():
        features = known[:, columns]
        said, own = np.empty(len(rows)), np.empty(len(rows))
        for locale in sorted(set(locales.tolist())):
            here = locales == locale
            said[here] = fused(features, is_defect, folds, ~here if fit is None else locales == fit)[here]
            own[here] = fused(features, is_defect, folds, here)[here]
        result[name] = {
            part: {
                kind: compare([rows[i] for i in places], _scores(by[places]), _scores(model[places]))
                for kind, by in (("fused", said), ("own", own))
            }
            for part, places in _parts(files, None if fit is None else locales != fit).items()
        }
    return result


def _scores(irrelevance: Floats) -> Scores:
    return Scores(gain=-irrelevance, exact=-irrelevance, irrelevance=irrelevance)


def _parts(
    files: Mapping[Path, Sequence[LabelledPair]], tested: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.intp]]:
    """Places of the rows of each file, of each folder, and of all; without those that are not tested."""
    source = np.repeat(np.arange(len(files)), [len(part) for part in files.values()])
    of_files = {f"{path.parent.name}/{path.name.split('.')[0]}": {i} for i, path in enumerate(files)}
    of_folders: dict[str, set[int]] = {}
    for i, path in enumerate(files):
        of_folders.setdefault(path.parent.name, set()).add(i)
    found = {
        name: np.flatnonzero(np.isin(source, list(mine)) & (True if tested is None else tested))
        for name, mine in (of_files | of_folders | {"all": set(range(len(files)))}).items()
    }
    return {name: places for name, places in found.items() if len(places)}


def table(result: Mapping[str, Any]) -> str:
    """Markdown: ROC-AUC of the model and what each fusion adds to it, with paired 95 % intervals."""
    lines = [
        "| rows | n | model | fusion | adds | adds, fitted on its own language |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_part in result.items():
        for part, kinds in by_part.items():
            told = kinds["fused"]
            cells = [_added(kinds[kind]["auc_es"]["difference"]) for kind in ("fused", "own")]
            lines.append(
                f"| {part} | {told['n']} | {told['auc_es']['b']:.3f} | {name} | {cells[0]} | {cells[1]} |"
            )
    return "\n".join(lines)


def _added(difference: Mapping[str, Any]) -> str:
    low, high = difference["ci95"]
    return f"{difference['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="labelled rows")
    parser.add_argument("--fit", default=None, help="locale to fit on, e.g. en")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--grades", type=Path, default=None, help="saved grades of these rows, in this order")
    parser.add_argument(
        "--saved", type=Path, default=None, help="signals of these rows, kept from run to run"
    )
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    files = read_files(asked.files)
    rows = [row for part in files.values() for row in part]
    if asked.saved is not None and asked.saved.is_file():
        known = np.load(asked.saved)
        if known.shape != (len(rows), 7):
            raise InputError(f"{asked.saved} holds the signals of other rows.")
    else:
        known = signals(rows, graded(rows, asked.bundle, asked.grades))
        if asked.saved is not None:
            np.save(asked.saved, known)
    result = measure(files, known, asked.fit)
    if asked.json is not None:
        asked.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(result) + "\n")


if __name__ == "__main__":
    main()
