"""Self-distillation of the adapter (``csrm.training.rounds``): each teacher goes through all stages of the recipe.

Knows stages and how they are taught; knows no file of rows and no bundle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.training import relevance, rounds, translation
from csrm.training.data import TrainingRow
from csrm.training.recipe import DistillationSettings, Stage
from csrm.training.record import Progress
from csrm.training.trainer import Dev, Trainer


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
    """The lessons with the labels that taught best, as ``csrm.training.rounds.refined`` finds them.

    Args:
        trainer: is reset for each teacher.
        lessons: as labelled.
        settings: folds, rounds, and how many of the labels are taken to be wrong.
        dev: decides between rounds by the ROC-AUC of the teachers' mean.
        run: folder for what each round found; finished teachers in it are not trained again.
        worker: which of how many processes on the same folder this is.
        on_step: called after each optimiser step.

    Raises:
        InputError: all rows fell into one fold, so that its teacher would learn from nothing.
    """
    given = np.array([e.target for lesson in lessons for e in lesson.examples], dtype=np.float32)

    def train(teacher: rounds.Teacher) -> tuple[rounds.Grades, rounds.Grades]:
        current = _shortened(_relabelled(lessons, teacher.targets), settings.epochs)
        told = _of_teacher(on_step, teacher.name)
        teach(trainer, _without(current, teacher.unseen), teacher.folder, on_step=told)
        examples = [example for lesson in lessons for example in lesson.examples]
        hidden = [e for e, unseen in zip(examples, teacher.unseen, strict=True) if unseen]
        return trainer.grades(hidden, as_annotated=True)[0], trainer.grades(dev.examples)[0]

    rows = [row for lesson in lessons for row in lesson.rows]
    targets = rounds.refined(rows, given, settings, train, dev.auc, run, worker=worker)
    return _relabelled(lessons, targets)


def softened(example: relevance.Example, grades: NDArray[np.float32], weight: float) -> relevance.Example:
    """The example with its label and some grades (4,), mixed as ``csrm.training.rounds.mixed`` does."""
    given = np.array([example.target], dtype=np.float32)
    return dataclasses.replace(example, target=_four(rounds.mixed(given, grades[None], weight)[0]))


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
