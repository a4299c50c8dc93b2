"""Multi-round self-distillation against label errors: each row graded anew by teachers that never saw its query.

Round after round (CSRM-LLM, arXiv 2509.01566): K teachers, each trained on all folds but one, grade the fold they
did not see; by Bayes' rule those grades and the given labels become what a row is held to be, and the next round's
teachers learn from that. Folds are cut by query, a rewritten query together with the one it comes from. A clean dev set
says when to stop: teachers that do no better on it than the round's before were taught by labels no better than those
before. Knows folds, rounds and labels; knows no model, and is handed what trains one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError
from csrm.prompt import GRADES
from csrm.training import changes, parallel, record
from csrm.training.data import TrainingRow, origins_of
from csrm.training.recipe import DistillationSettings

log = logging.getLogger(__name__)

_DONE = "grades.npz"
LOG = "log.jsonl"
"""What each round found, a line a round."""

Grades = NDArray[np.float32]
"""Probabilities of E, S, C and I, (n, 4)."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """One that is to be trained on all rows but some.

    Attributes:
        targets: what the round takes the labels to be, (n, 4) of all rows.
        unseen: which rows it may not be taught, (n,).
        folder: of its own.
        name: for a display.
    """

    targets: Grades
    unseen: NDArray[np.bool_]
    folder: Path
    name: str


def refined(
    rows: Sequence[TrainingRow],
    given: Grades,
    settings: DistillationSettings,
    train: Callable[[Teacher], tuple[Grades, Grades]],
    auc: Callable[[Grades], float],
    run: Path,
    *,
    worker: tuple[int, int] = (0, 1),
) -> Grades:
    """The labels that taught best.

    A round's teachers learn from the labels of the round before, the first round's from the given ones, so their figure
    on dev judges those. Where a round's teachers do no better than the round's before, the labels that taught them are
    given up for those that taught the others: after round 2 for the given ones. The last round's labels have taught
    nobody and are taken on trust; with one round nothing is compared.

    Args:
        rows: all rows.
        given: their labels (n, 4): a distribution, or a 1 for each grade that a row may have.
        settings: folds, rounds, and how many of the labels are taken to be wrong.
        train: trains a teacher, and tells its grades of the unseen rows, as their annotators would give them, and of
            the dev rows.
        auc: how good the mean of the teachers' grades of the dev rows is: decides between rounds.
        run: folder for what each round found, in a log beside them the labels that it changes; finished teachers in it
            are not trained again.
        worker: which of how many processes on the same folder this is: each trains its share of a round's teachers
            and waits for the others'.

    Raises:
        InputError: all rows fell into one fold, so that its teacher would learn from nothing.
    """
    folds = folds_of(rows, settings.folds)
    if len(set(folds.tolist())) < 2:
        raise InputError(
            f"distillation.folds: all {len(folds)} rows fell into one of {settings.folds} folds, which are cut by "
            "query: nothing is left for its teacher. Take rows of more queries, or another number of folds."
        )
    before = current = given
    reached: float | None = None
    told: list[str] = []
    for number in range(1, settings.rounds + 1):
        folder = run / f"round-{number}"
        teachers = [
            Teacher(
                current,
                folds == fold,
                folder / f"teacher-{fold + 1}",
                f"round {number}, teacher {fold + 1}",
            )
            for fold in range(settings.folds)
        ]
        for place, teacher in enumerate(teachers):
            if place % worker[1] == worker[0] and not (teacher.folder / _DONE).is_file():
                _keep(teacher, *train(teacher))
        found, of_dev = np.empty_like(given), []
        for teacher in teachers:
            while not (teacher.folder / _DONE).is_file():
                time.sleep(0.5)
            with np.load(teacher.folder / _DONE) as grades:
                found[teacher.unseen] = grades["unseen"]
                of_dev.append(grades["dev"])
        value = auc(np.mean(of_dev, axis=0))
        targets = believed(given, found, settings.noise)
        log.info("round %d: the teachers' mean has a dev ROC-AUC of %.4f", number, value)
        if parallel.number() == 0:
            report = {"dev_auc_es": round(value, 4)} | changes.report(rows, given, found, targets)
            told.append(json.dumps({"round": number} | changes.brief(report), ensure_ascii=False) + "\n")
            with record.writing(folder):
                full = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
                (folder / "labels.json").write_text(full, encoding="utf-8")
                (run / LOG).write_text("".join(told), encoding="utf-8")
            for line in changes.lines(report):
                log.info("round %d: %s", number, line)
        if reached is not None and value <= reached:
            labels = f"those of round {number - 2}" if number > 2 else "the given ones"
            log.info("the labels of round %d taught no better: %s stay", number - 1, labels)
            return before
        reached = value
        before, current = current, targets
    return current


def believed(given: Grades, found: Grades, noise: float) -> Grades:
    """What rows are held to be, (n, 4), by Bayes' rule: teachers say what is likely, the label is what was seen.

    A teacher that is unsure leaves a label as it is, one that is sure of another grade overrules it, and one that says
    the same makes it surer. A row that may have several grades takes the teachers' word among them; one without a label
    takes it whole.

    Args:
        given: labels: a distribution, or a 1 for each grade that a row may have.
        found: the teachers' grades.
        noise: share of the labels that are taken to be wrong, each other grade as likely.
    """
    several = given.sum(axis=1, keepdims=True) > 1.5
    seen = np.where(several, given, (1 - noise) * given + noise * (1 - given) / (len(GRADES) - 1))
    joint = seen * found
    return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-9), dtype=np.float32)


def mixed(given: Grades, found: Grades, weight: float) -> Grades:
    """Labels (n, 4) of which other grades are a part of ``weight``, as a source's ``grades`` are.

    A row that may have several grades takes the other grades among them; one without a label takes them whole.
    """
    several = given.sum(axis=1, keepdims=True) > 1.5
    among = believed(given, found, 0.0)
    return np.where(several, among, (1 - weight) * given + weight * found).astype(np.float32)


def folds_of(rows: Sequence[TrainingRow], folds: int) -> NDArray[np.int64]:
    """Fold of each row, the same for every row of a query and of the query it was rewritten from."""
    origin = origins_of(rows)
    groups = [origin(row.query) for row in rows]
    return np.array([int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % folds for group in groups])


def _keep(teacher: Teacher, unseen: Grades, dev: Grades) -> None:
    """Write what a teacher says; with that its checkpoints have served."""
    if parallel.number() == 0:
        with record.writing(teacher.folder):
            teacher.folder.mkdir(parents=True, exist_ok=True)
            partial = teacher.folder / "part.npz"
            np.savez(partial, unseen=unseen, dev=dev)
            partial.replace(teacher.folder / _DONE)
        for checkpoint in teacher.folder.glob("*.pt"):
            checkpoint.unlink()
    parallel.wait()
