"""Multi-round self-distillation against label errors: each row graded anew by teachers that never saw its query.

Round after round (CSRM-LLM, arXiv 2509.01566): K teachers, each trained on all folds but one, grade the fold they
did not see; those grades are mixed with the given labels, and the next round's teachers learn from the mix. Folds
are cut by query, a rewritten query together with the one it comes from. A clean dev set says when to stop: teachers
that do no better on it than the round's before were taught by labels no better than those before. Knows folds, rounds
and labels; knows no file of rows and no bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError
from csrm.prompt import GRADES
from csrm.training import parallel, record, relevance, translation
from csrm.training.data import TrainingRow, origins_of
from csrm.training.recipe import DistillationSettings, Stage
from csrm.training.trainer import Dev, Progress, Trainer

log = logging.getLogger(__name__)

_EXAMPLES = 20
_DONE = "grades.npz"


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """A stage and everything it is taught with. ``rows`` and ``examples`` go together."""

    stage: Stage
    rows: list[TrainingRow]
    examples: list[relevance.Example]
    translations: list[translation.Example]


def teach(
    trainer: Trainer,
    lessons: Sequence[Lesson],
    run: Path,
    *,
    dev: Dev | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> None:
    """Train from the untouched base through all lessons; rows that have no label are left out.

    The adapter as it is after an earlier lesson is kept in a folder of the stage's name.
    """
    trainer.reset()
    before: Path | None = None
    for number, lesson in enumerate(lessons):
        if number > 0:
            before = trainer.save(run / lessons[number - 1].stage.name)
        labelled = [example for example in lesson.examples if sum(example.target) < 3.5]
        trainer.fit(lesson.stage, labelled, lesson.translations, run, before=before, dev=dev, on_step=on_step)


def refined(
    trainer: Trainer,
    lessons: Sequence[Lesson],
    settings: DistillationSettings,
    dev: Dev,
    run: Path,
    *,
    worker: tuple[int, int] = (0, 1),
    on_step: Callable[[Progress], None] | None = None,
) -> list[Lesson]:
    """The lessons with the labels that taught best.

    A round's teachers learn from the labels of the round before, the first round's from the given ones, so their figure
    on dev judges those. Where a round's teachers do no better than the round's before, the labels that taught them are
    given up for those that taught the others: after round 2 for the given ones. The last round's labels have taught
    nobody and are taken on trust; with one round nothing is compared.

    Args:
        trainer: is reset for each teacher.
        lessons: as labelled.
        settings: folds, rounds, and how much the teachers' word counts.
        dev: decides between rounds by the ROC-AUC of the teachers' mean.
        run: folder for what each round found; finished teachers in it are not trained again.
        worker: which of how many processes on the same folder this is: each trains its share of a round's teachers
            and waits for the others'.
        on_step: called after each optimiser step.

    Raises:
        InputError: all rows fell into one fold, so that its teacher would learn from nothing.
    """
    folds = folds_of([row for lesson in lessons for row in lesson.rows], settings.folds)
    if len(set(folds.tolist())) < 2:
        raise InputError(
            f"distillation.folds: all {len(folds)} rows fell into one of {settings.folds} folds, which are cut by "
            "query: nothing is left for its teacher. Take rows of more queries, or another number of folds."
        )
    given = np.array([e.target for lesson in lessons for e in lesson.examples], dtype=np.float32)
    rows = [row for lesson in lessons for row in lesson.rows]
    before = current = list(lessons)
    reached: float | None = None
    for number in range(1, settings.rounds + 1):
        folder = run / f"round-{number}"
        found = np.empty_like(given)
        on_dev = np.zeros((len(dev.examples), 4), dtype=np.float32)
        teachers = [folder / f"teacher-{fold + 1}" for fold in range(settings.folds)]
        for fold, teacher in enumerate(teachers):
            if fold % worker[1] == worker[0] and not (teacher / _DONE).is_file():
                lesson_plan = _shortened(current, settings.epochs)
                told = _of_teacher(on_step, f"round {number}, teacher {fold + 1}")
                _train_teacher(trainer, lesson_plan, folds == fold, dev, teacher, on_step=told)
        for fold, teacher in enumerate(teachers):
            while not (teacher / _DONE).is_file():
                time.sleep(0.5)
            with np.load(teacher / _DONE) as grades:
                found[folds == fold] = grades["unseen"]
                on_dev += grades["dev"] / settings.folds
        auc = dev.auc(on_dev)
        targets = mixed(given, found, settings.weight)
        if parallel.number() == 0:
            with record.writing(folder):
                _report(rows, given, found, auc, folder)
        log.info("round %d: the teachers' mean has a dev ROC-AUC of %.4f", number, auc)
        if reached is not None and auc <= reached:
            labels = f"those of round {number - 2}" if number > 2 else "the given ones"
            log.info("the labels of round %d taught no better: %s stay", number - 1, labels)
            return before
        reached = auc
        before, current = current, _relabelled(lessons, targets)
    return current


def mixed(given: NDArray[np.float32], found: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Targets (n, 4): the given labels and the teachers' grades, weighed.

    A row that may have several grades takes the teachers' word among them; one without a label takes it whole.
    """
    several = given.sum(axis=1, keepdims=True) > 1.5
    allowed = given * found
    allowed /= np.maximum(allowed.sum(axis=1, keepdims=True), 1e-9)
    return np.where(several, allowed, (1 - weight) * given + weight * found).astype(np.float32)


def softened(example: relevance.Example, grades: NDArray[np.float32], weight: float) -> relevance.Example:
    """The example with its label and some grades (4,), mixed as ``mixed`` does."""
    given = np.array([example.target], dtype=np.float32)
    return dataclasses.replace(example, target=_four(mixed(given, grades[None], weight)[0]))


def _train_teacher(
    trainer: Trainer,
    lessons: Sequence[Lesson],
    unseen: NDArray[np.bool_],
    dev: Dev,
    run: Path,
    *,
    on_step: Callable[[Progress], None] | None,
) -> None:
    """Keep the grades of the unseen rows, as their annotators would give them, and of the dev rows."""
    examples = [example for lesson in lessons for example in lesson.examples]
    teach(trainer, _without(lessons, unseen), run, on_step=on_step)
    found, _ = trainer.grades(
        [e for e, hidden in zip(examples, unseen, strict=True) if hidden], as_annotated=True
    )
    on_dev, _ = trainer.grades(dev.examples)
    if parallel.number() == 0:
        with record.writing(run):
            np.savez(run / "part.npz", unseen=found, dev=on_dev)
            (run / "part.npz").replace(run / _DONE)
        for checkpoint in run.glob("checkpoint-*.pt"):
            checkpoint.unlink()
    parallel.wait()


def _of_teacher(on_step: Callable[[Progress], None] | None, part: str) -> Callable[[Progress], None] | None:
    if on_step is None:
        return None
    return lambda progress: on_step(dataclasses.replace(progress, part=part))


def _shortened(lessons: Sequence[Lesson], epochs: int | None) -> list[Lesson]:
    if epochs is None:
        return list(lessons)
    return [
        dataclasses.replace(lesson, stage=lesson.stage.model_copy(update={"epochs": epochs}))
        for lesson in lessons
    ]


def _without(lessons: Sequence[Lesson], unseen: NDArray[np.bool_]) -> list[Lesson]:
    kept, start = [], 0
    for lesson in lessons:
        places = [i for i in range(len(lesson.rows)) if not unseen[start + i]]
        start += len(lesson.rows)
        kept.append(
            dataclasses.replace(
                lesson,
                rows=[lesson.rows[i] for i in places],
                examples=[lesson.examples[i] for i in places],
            )
        )
    return kept


def _relabelled(lessons: Sequence[Lesson], targets: NDArray[np.float32]) -> list[Lesson]:
    changed, start = [], 0
    for lesson in lessons:
        examples = [
            dataclasses.replace(example, target=_four(targets[start + i]))
            for i, example in enumerate(lesson.examples)
        ]
        start += len(examples)
        changed.append(dataclasses.replace(lesson, examples=examples))
    return changed


def _four(row: NDArray[np.float32]) -> tuple[float, float, float, float]:
    e, s, c, i = map(float, row)
    return e, s, c, i


def folds_of(rows: Sequence[TrainingRow], folds: int) -> NDArray[np.int64]:
    """Fold of each row, the same for every row of a query and of the query it was rewritten from."""
    origin = origins_of(rows)
    groups = [origin(row.query) for row in rows]
    return np.array([int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % folds for group in groups])


def _report(
    rows: Sequence[TrainingRow],
    given: NDArray[np.float32],
    found: NDArray[np.float32],
    auc: float,
    folder: Path,
) -> None:
    """Where the teachers' likeliest grade is not the given one: how often, which for which, the surest examples."""
    single = given.sum(axis=1) < 1.5
    before, after = given.argmax(axis=1), found.argmax(axis=1)
    other = np.flatnonzero(single & (before != after)).tolist()
    kinds = Counter(f"{rows[i].label_by} {GRADES[before[i]]} -> {GRADES[after[i]]}" for i in other)
    surest = sorted(other, key=lambda i: -float(found[i].max()))[:_EXAMPLES]
    content = {
        "dev_auc_es": round(auc, 4),
        "labelled": int(single.sum()),
        "graded_otherwise": len(other),
        "graded_otherwise_share": round(len(other) / max(1, int(single.sum())), 4),
        "kinds": dict(kinds.most_common()),
        "examples": [
            {
                "query": rows[i].query,
                "title": rows[i].title,
                "given": rows[i].label,
                "teachers": {g: round(float(p), 3) for g, p in zip(GRADES, found[i], strict=True)},
            }
            for i in surest
        ],
    }
    (folder / "labels.json").write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")
