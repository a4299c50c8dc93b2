"""A training run from a recipe to an adapter: rows, knowledge, stages; continued where a kill left it.

Knows the order of things; each thing itself lives in its own module. Calibration and the bundle come after
(``csrm.training.bundling``), from the adapter that stands in the run's folder.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csrm.errors import InputError, MissingExtraError
from csrm.training import continuing
from csrm.training.asked import encoder_for, manifest_for
from csrm.training.data import (
    TrainingRow,
    deduplicated,
    origins_of,
    read_pairs,
    refuse_leaks,
    refuse_one_kind,
)
from csrm.training.drawing import drawn, read_grades
from csrm.training.recipe import DataSource, KnowledgeSettings, Recipe, Stage
from csrm.training.shipped import shipped_rows
from csrm.training.starting import lora_of, start_of

if TYPE_CHECKING:
    import torch

    from csrm.training.distillation import Lesson
    from csrm.training.record import Progress
    from csrm.training.trainer import Trainer

log = logging.getLogger(__name__)


Soft = NDArray[np.float32]
Pair = tuple[str, str]


def rows_of(
    stage: str, sources: Sequence[DataSource], data: Sequence[Path], seed: int
) -> tuple[list[TrainingRow], dict[Pair, tuple[Soft, float]]]:
    """Rows of some sources, drawn and repeated as the recipe says, of repeated pairs the first; and, by pair, the soft
    labels that some of them have, with their weight.

    Args:
        stage: what they are for, in the log.
        sources: of the recipe.
        data: folders that their paths are looked up in.
        seed: of what is drawn.

    Raises:
        InputError: a file is missing or wrong.
    """
    repeats: dict[Pair, int] = {}
    soft: dict[Pair, tuple[Soft, float]] = {}
    rows: list[TrainingRow] = []
    files = [read_pairs(under(data, source.path), TrainingRow) for source in sources]
    origin = origins_of([row for part in files for row in part])
    for source, part in zip(sources, files, strict=True):
        grades = None if source.grades is None else read_grades(under(data, source.grades), len(part))
        for place in drawn(part, source.share, seed, origin):
            row = part[place]
            rows.append(row)
            if row.key not in repeats:
                repeats[row.key] = source.repeat
                if grades is not None:
                    soft[row.key] = grades[place], 0.5 if source.weight is None else source.weight
    unique = deduplicated(rows)
    first = {row.key: row.label for row in unique}
    contrary = sum(not set(row.label) & set(first[row.key]) for row in rows)
    log.info(
        "stage %s: %d rows, %d unique; of the %d repeated ones %d contradict the first, which stays",
        *(stage, len(rows), len(unique), len(rows) - len(unique), contrary),
    )
    return [row for row in unique for _ in range(repeats[row.key])], soft


def train(
    recipe: Recipe, run: Path, data: Sequence[Path], *, on_step: Callable[[Progress], None] | None = None
) -> Path:
    """Train the adapter of a recipe.

    Args:
        recipe: what to train.
        run: folder of the run; an interrupted run in it is continued.
        data: folders that the recipe's relative paths are looked up in, the first that has the file; the shipped rows
            come after them.
        on_step: called after each optimiser step.

    Returns:
        The folder of the trained adapter, ``run/adapter``.

    Raises:
        InputError: a data file is missing or wrong, a dev row stands in the training rows, all rows are of one kind,
            the adapter to start from does not fit, or the run was begun with another recipe or other rows.
        MissingExtraError: the ``train`` extra is not installed.
        TrainingError: the loss is no longer a number, or the folder cannot be written to.
    """
    try:
        from csrm.training import distillation, parallel, record, relevance
        from csrm.training.environment import write_environment
        from csrm.training.trainer import Dev, Trainer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "train") from error

    recipe = recipe.from_the_root()  # the folder of the run may be taken up from elsewhere
    continuing.refuse_other_recipe(run, recipe)
    dev = [row for path in recipe.dev for row in read_pairs(under(data, path))]
    read = [rows_of(stage.name, stage.sources, data, recipe.seed) for stage in recipe.stages]
    for rows, _ in read:
        refuse_leaks(rows, dev)
    refuse_one_kind("dev", dev)
    refuse_one_kind("stages", [row for rows, _ in read for row in rows])
    start = start_of(recipe, data)
    trainer = Trainer(recipe, annotators=[row.label_by for rows, _ in read for row in rows], start=start)
    lessons = [
        _lesson(stage, rows, soft, data, recipe.seed, trainer)
        for stage, (rows, soft) in zip(recipe.stages, read, strict=True)
    ]
    mark = continuing.mark_of(lessons, start)
    continuing.refuse_other_rows(run, mark)
    parallel.wait()  # all have looked before one writes
    if parallel.number() == 0:
        with record.writing(run):
            continuing.note(run, recipe, mark)
            write_environment(run)
    clean = Dev(
        relevance.encode(dev, [[] for _ in dev], trainer.encoder),
        np.array([row.label in "ES" for row in dev]),
    )
    if recipe.distillation is not None:
        lessons = distillation.refined(
            trainer, lessons, recipe.distillation, clean, run / "distillation", on_step=on_step
        )
    distillation.teach(trainer, lessons, run, dev=clean, on_step=on_step)
    if parallel.number() == 0:
        with record.writing(run):
            record.plot(run)
    return trainer.save(run)


def fit_exit(
    adapter: Path, bundle: str | Path, data: Sequence[Path], layer: int, limit: int, *, seed: int = 20260917
) -> int:
    """Write the head of an early exit beside a trained adapter.

    Args:
        adapter: folder of the adapter. A cross-encoder in it, or else that of the bundle, speaks with its weight in the
            grades that teach the head.
        bundle: whose knowledge it is for; and whose base and prompt, where the adapter does not say its own.
        data: files of rows that are not dev rows; every other row sees the knowledge that it would be served with.
        layer: how many layers run before the exit.
        limit: most rows, drawn at random.
        seed: of the draw.

    Returns:
        How many rows it was fitted on.

    Raises:
        InputError: a file is missing or wrong, the adapter does not fit, or the base has no such layer.
        BundleError: the cross-encoder is broken, or for another encoder.
        MissingExtraError: the ``train`` extra is not installed.
        TrainingError: the head cannot be written.
    """
    try:
        from csrm.bundle import load_bundle
        from csrm.evaluation.grading import bundle_knowledge
        from csrm.training import exiting, record, relevance
        from csrm.training.trainer import Trainer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "train") from error

    lora = lora_of(adapter)
    found = load_bundle(bundle)
    manifest = manifest_for(adapter, found.manifest)
    rows = deduplicated([row for path in data for row in read_pairs(path, TrainingRow)])
    random.Random(seed).shuffle(rows)
    rows = rows[:limit]
    source = DataSource(path=Path("as given"))
    trainer = Trainer(
        Recipe(
            name=manifest.name,
            base=manifest.base,
            lora=lora,
            prompt=manifest.prompt,
            limits=manifest.limits,
            stages=[Stage(name="as-given", sources=[source])],
            dev=[source.path],
        )
    )
    base: Any = trainer.model.get_base_model()
    layers = int(base.config.num_hidden_layers)
    if layer >= layers:
        raise InputError(f"An exit after {layer} layers is none: the base has {layers} layers.")
    trainer.load(adapter)
    ask = bundle_knowledge(found)
    lines = [ask(row.query, row.locale) if ask and i % 2 else () for i, row in enumerate(rows)]
    beside = None
    if part := encoder_for(adapter, found):
        file, encoder = part
        beside = _by_encoder(file, rows, lines, trainer.device), encoder.weight
    examples = relevance.encode(rows, lines, trainer.encoder)
    heads = exiting.fit_exits(trainer, examples, [layer], beside=beside)
    with record.writing(adapter, resumes=False):
        heads[layer].save(adapter, layer)
    return len(rows)


def _by_encoder(
    file: Path, rows: Sequence[TrainingRow], lines: Sequence[Sequence[str]], device: torch.device
) -> NDArray[np.float32]:
    """Grades (n, 4) of rows by a cross-encoder that is told the same of their queries."""
    from csrm.encoder.cross_encoder import CrossEncoder, encode_pairs

    encoder = CrossEncoder.load(file, "fp32", device)
    asked = [(row.query, notes, row.title) for row, notes in zip(rows, lines, strict=True)]
    return encoder.grades(encode_pairs(encoder.tokenizer, asked))


def _lesson(
    stage: Stage,
    rows: list[TrainingRow],
    soft: Mapping[Pair, tuple[Soft, float]],
    data: Sequence[Path],
    seed: int,
    trainer: Trainer,
) -> Lesson:
    """A stage with its rows, their labels and parallel text, encoded."""
    from csrm.training import distillation, relevance, translation

    log.info("stage %s: labels %s", stage.name, dict(Counter(f"{r.locale}/{r.label}" for r in rows)))
    lines = told(rows, stage.knowledge, data, seed)
    parallel: list[translation.Line] = []
    if stage.translation is not None:
        for path in stage.translation.sources:
            parallel += translation.read_lines(under(data, path), stage.translation)
        log.info("stage %s: %d lines to translate", stage.name, len(parallel))
    examples = relevance.encode(rows, lines, trainer.encoder)
    for place, row in enumerate(rows):
        if row.key in soft:
            examples[place] = distillation.softened(examples[place], *soft[row.key])
    return distillation.Lesson(
        stage,
        rows,
        examples,
        translation.encode(parallel, trainer.tokenizer),
    )


def told(
    rows: Sequence[TrainingRow], knowledge: KnowledgeSettings | None, data: Sequence[Path], seed: int
) -> list[list[str]]:
    """Lines of knowledge for each row (``csrm.training.augmentation``), its entries looked up in the data folders; none
    where nothing is to be told."""
    if knowledge is None:
        return [[] for _ in rows]
    from csrm.training.augmentation import knowledge_lines

    entries = [under(data, path) for path in knowledge.entries]
    return knowledge_lines(rows, knowledge.model_copy(update={"entries": entries}), seed)


def under(data: Sequence[Path], path: Path) -> Path:
    """The file in the first of the folders that has it, or else among the shipped rows; an absolute path is itself."""
    for folder in (*data, shipped_rows()):
        if (folder / path).is_file():
            return folder / path
    folders = ", ".join(map(str, data)) or "no folders"
    raise InputError(f"The data file {path} is in none of {folders}, and no shipped file.")
