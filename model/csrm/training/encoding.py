"""The cross-encoder of a bundle, from a recipe: rows, knowledge, rounds of self-distillation, the file in the end.

Knows the order of things; each thing itself lives in its own module. Knows no language model.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import ENCODER_FILE
from csrm.encoder.cross_encoder import encode_pairs
from csrm.encoder.e5 import installed
from csrm.errors import InputError
from csrm.training import continuing, record, rounds
from csrm.training.data import LabelledPair, TrainingRow, read_pairs, refuse_leaks, refuse_one_kind
from csrm.training.encoder_trainer import STAGE, Dev, EncoderTrainer, Row, target_of
from csrm.training.environment import write_environment
from csrm.training.recipe import DistillationSettings, EncoderRecipe
from csrm.training.relevance import relevant_auc
from csrm.training.run import Pair, Soft, rows_of, told, under

NEIGHBOURS = 40
"""Batches within which rows of like length come together."""

OnStep = Callable[[record.Progress], None]
Epoch = list[tuple[TrainingRow, list[int]]]
"""Rows in an order of its own, each with its tokens."""
Labels = dict[Pair, Soft]
"""What each pair's label says of the grades, (4,)."""


def fit_encoder(
    recipe: EncoderRecipe,
    adapter: Path,
    data: Sequence[Path],
    run: Path,
    *,
    on_step: OnStep | None = None,
) -> Path:
    """Train a cross-encoder and write it beside a trained adapter.

    Args:
        recipe: what to train on, and how.
        adapter: folder of the adapter.
        data: folders that the recipe's paths are looked up in, as for ``csrm.training.run.train``.
        run: folder of the run; an interrupted one in it is continued.
        on_step: called after each step.

    Returns:
        The file that was written.

    Raises:
        InputError: a file is missing or wrong, a dev row stands in the training rows, all rows are of one kind or fell
            into one fold, or the run was begun by another recipe or with other rows.
        TrainingError: the loss is no number, or a folder cannot be written to.
        MissingExtraError, BaseModelError: the encoder that it starts from cannot be had.
    """
    if not adapter.is_dir():
        raise InputError(f"{adapter} is no folder: name that of a trained adapter.")
    dev_rows = [row for path in recipe.dev for row in read_pairs(under(data, path))]
    read = [rows_of(STAGE, recipe.sources, data, recipe.seed + number) for number in range(recipe.epochs)]
    rows = [row for part, _ in read for row in part]
    refuse_leaks(rows, dev_rows)
    refuse_one_kind("sources", rows)
    trainer = EncoderTrainer(installed(), recipe, [row.label_by for row in rows])
    epochs = [_epoch(part, data, number, trainer) for number, (part, _) in enumerate(read)]
    labels = _labels(read)
    seen = repr([(ids, labels[row.key].tolist(), row.label_by) for epoch in epochs for row, ids in epoch])
    mark = hashlib.sha256(seen.encode()).hexdigest()
    continuing.refuse_other_rows(run, mark)
    with record.writing(run):
        run.mkdir(parents=True, exist_ok=True)
        (run / continuing.ROWS).write_text(mark + "\n", encoding="utf-8")
        write_environment(run)
    dev = _dev(dev_rows, trainer)
    if recipe.distillation is not None:
        labels = refined(
            trainer, recipe.distillation, epochs, labels, dev, run / "distillation", on_step=on_step
        )
        trainer.reset()
    trainer.fit(planned(recipe, epochs, labels), run, dev=dev, on_step=on_step)
    with record.writing(run):
        record.plot(run)
    trainer.save(adapter)
    return adapter / ENCODER_FILE


def refined(
    trainer: EncoderTrainer,
    settings: DistillationSettings,
    epochs: Sequence[Epoch],
    labels: Labels,
    dev: Dev,
    run: Path,
    *,
    on_step: OnStep | None = None,
) -> Labels:
    """The labels with what teachers said of rows that they had not seen (``csrm.training.rounds.refined``).

    Args:
        trainer: is reset for each teacher.
        settings: folds, rounds, and how many of the labels are taken to be wrong.
        epochs: what is learnt from; a teacher learns from the first ``settings.epochs``, less its fold.
        labels: as given.
        dev: decides between rounds.
        run: folder of what each round found.
        on_step: called after each step.

    Raises:
        InputError: all rows fell into one fold.
    """
    first: dict[Pair, tuple[TrainingRow, list[int]]] = {}
    for epoch in epochs:
        for row, ids in epoch:
            first.setdefault(row.key, (row, ids))

    def train(teacher: rounds.Teacher) -> tuple[rounds.Grades, rounds.Grades]:
        unseen = {key for key, hidden in zip(first, teacher.unseen, strict=True) if hidden}
        parts = [[one for one in epoch if one[0].key not in unseen] for epoch in epochs[: settings.epochs]]
        plan = planned(trainer.recipe, parts, dict(zip(first, teacher.targets, strict=True)))
        trainer.reset()
        trainer.fit(plan, teacher.folder, dev=dev, on_step=on_step, part=teacher.name)
        hidden = [first[key] for key in first if key in unseen]
        found = trainer.grades([ids for _, ids in hidden], [row.label_by for row, _ in hidden])
        return found, trainer.grades(dev.ids)

    given = np.stack([labels[key] for key in first])
    found = rounds.refined([row for row, _ in first.values()], given, settings, train, dev.auc, run)
    return dict(zip(first, found, strict=True))


def planned(recipe: EncoderRecipe, epochs: Sequence[Epoch], labels: Labels) -> list[list[Row]]:
    """The batches of all epochs: rows of like length, in an order of its own, the same whenever it is asked for."""
    plan: list[list[Row]] = []
    for number, epoch in enumerate(epochs):
        chance = random.Random(f"{recipe.seed}/{number}/batches")
        lengths = np.array([len(ids) for _, ids in epoch])
        found: list[NDArray[np.intp]] = []
        for begin in range(0, len(epoch), recipe.batch_rows * NEIGHBOURS):
            near = np.arange(begin, min(begin + recipe.batch_rows * NEIGHBOURS, len(epoch)))
            near = near[np.argsort(lengths[near], kind="stable")]
            found += [near[at : at + recipe.batch_rows] for at in range(0, len(near), recipe.batch_rows)]
        chance.shuffle(found)
        for places in found:
            batch = [epoch[place] for place in places]
            plan.append([Row(ids, row.label_by, labels[row.key]) for row, ids in batch])
    return plan


def _epoch(rows: list[TrainingRow], data: Sequence[Path], number: int, trainer: EncoderTrainer) -> Epoch:
    """The rows of an epoch with their knowledge, in an order that is the same whenever it is asked for."""
    recipe = trainer.recipe
    rows = list(rows)
    random.Random(f"{recipe.seed}/{number}").shuffle(rows)
    notes = told(rows, recipe.knowledge, data, recipe.seed + number)
    pairs = [(row.query, lines, row.title) for row, lines in zip(rows, notes, strict=True)]
    return list(zip(rows, encode_pairs(trainer.tokenizer, pairs), strict=True))


def _labels(read: Sequence[tuple[list[TrainingRow], Mapping[Pair, tuple[Soft, float]]]]) -> Labels:
    """What the label of each pair says, with the soft labels that a source brings; of repeated pairs the first."""
    labels: Labels = {}
    for rows, soft in read:
        for row in rows:
            if row.key not in labels:
                labels[row.key] = target_of(row.label)
                if row.key in soft:
                    grades, weight = soft[row.key]
                    labels[row.key] = rounds.mixed(labels[row.key][None], grades[None], weight)[0]
    return labels


def _dev(rows: Sequence[LabelledPair], trainer: EncoderTrainer) -> Dev:
    ids = encode_pairs(trainer.tokenizer, [(row.query, [], row.title) for row in rows])
    return Dev(ids, partial(relevant_auc, np.array([row.label in "ES" for row in rows])))
