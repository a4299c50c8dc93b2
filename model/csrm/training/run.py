"""A training run from a recipe to an adapter: rows, knowledge, stages; continued where a kill left it.

Knows the order of things; each thing itself lives in its own module. Calibration and the bundle come after
(``csrm.training.bundling``), from the adapter that stands in the run's folder.
"""

from __future__ import annotations

import json
import logging
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from csrm.errors import InputError, MissingExtraError
from csrm.training.data import LabelledPair, deduplicated, read_pairs, refuse_leaks
from csrm.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)


def stage_rows(stage: Stage, data: Sequence[Path]) -> list[LabelledPair]:
    """Rows of a stage, repeated pairs removed (the first source wins), then repeated as the recipe says."""
    repeats: dict[tuple[str, str], int] = {}
    rows: list[LabelledPair] = []
    for source in stage.sources:
        part = read_pairs(_under(data, source.path))
        rows += part
        for row in part:
            repeats.setdefault(row.key, source.repeat)
    unique = deduplicated(rows)
    log.info("stage %s: %d rows, %d unique", stage.name, len(rows), len(unique))
    return [row for row in unique for _ in range(repeats[row.key])]


def train(
    recipe: Recipe, run: Path, data: Sequence[Path], *, on_step: Callable[[object], None] | None = None
) -> Path:
    """Train the adapter of a recipe.

    Args:
        recipe: what to train.
        run: folder of the run; an interrupted run in it is continued.
        data: folders that the recipe's relative paths are looked up in, the first that has the file.
        on_step: called after each optimiser step with a ``trainer.Progress``.

    Returns:
        The folder of the trained adapter, ``run/adapter``.

    Raises:
        InputError: a data file is missing or wrong, or a dev row stands in the training rows.
        TrainingError: the loss is no longer a number.
    """
    try:
        from csrm.training import relevance
        from csrm.training.trainer import Trainer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "train") from error

    run.mkdir(parents=True, exist_ok=True)
    dev = [row for path in recipe.dev for row in read_pairs(_under(data, path))]
    rows_of = {stage.name: stage_rows(stage, data) for stage in recipe.stages}
    for rows in rows_of.values():
        refuse_leaks(rows, dev)
    (run / "environment.json").write_text(json.dumps(_environment(), indent=2) + "\n")
    (run / "recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n")

    trainer = Trainer(recipe, run)
    for stage in recipe.stages:
        rows = rows_of[stage.name]
        log.info("stage %s: labels %s", stage.name, dict(Counter(f"{r.locale}/{r.label}" for r in rows)))
        lines: list[list[str]] = [[] for _ in rows]
        if stage.knowledge is not None:
            from csrm.training.augmentation import knowledge_lines

            settings = stage.knowledge.model_copy(
                update={"entries": [_under(data, path) for path in stage.knowledge.entries]}
            )
            lines = knowledge_lines(rows, settings, recipe.seed)
        trainer.fit(stage, relevance.encode(rows, lines, trainer.encoder), on_step=on_step)
    return trainer.save_adapter()


def _under(data: Sequence[Path], path: Path) -> Path:
    for folder in data:
        if (folder / path).is_file():  # an absolute path is itself
            return folder / path
    raise InputError(f"The data file {path} is in none of {', '.join(map(str, data)) or 'no folders'}.")


def _environment() -> dict[str, str]:
    packages = ("csrm-opensearch", "torch", "transformers", "peft")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{p: version(p) for p in packages},
    }
