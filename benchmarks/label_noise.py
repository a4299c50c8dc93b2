"""Wrong labels: what they cost a training, and what a round of self-distillation wins back, at a scale for two cores.

    python -m benchmarks.label_noise ../shared/data --out build/noise [--noise 0 .1 .2 .3] [--rows 1600] [--json FILE]

Rows that an LLM graded, whose queries are cut in two: ``--rows`` of the one part are trained on, with a share of the
labels replaced by another grade at random, from the untouched base; ``--tests`` of the other, with their labels as
they are, measure. Each share is trained twice, on the labels as they then stand, and on those that one round of
distillation makes of them, with the same seed and steps. Finished trainings in ``--out`` are not done again.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import publish
from csrm.evaluation.compare import compare
from csrm.prompt import GRADES
from csrm.training import distillation, relevance, rounds
from csrm.training.data import TrainingRow, deduplicated, read_pairs
from csrm.training.recipe import DistillationSettings, LoraSettings, Recipe, Stage
from csrm.training.trainer import Dev, Trainer

SOURCES = tuple(f"llm_judged/{locale}.jsonl.gz" for locale in ("en", "es", "ja", "ko", "zh-TW"))
DISTILLATION = DistillationSettings(folds=3, rounds=1)
RECIPE = Recipe(
    name="label-noise",
    lora=LoraSettings(rank=16, alpha=32),
    stages=[Stage(name="grades", sources=[{"path": "as named"}], epochs=2, learning_rate=5e-4)],  # type: ignore[list-item]
    dev=[Path("as named")],
    batch_tokens=1024,
    checkpoint_steps=1_000_000,
)
LONGEST = 60
"""Tokens: longer rows are left out, they take the time of two."""


def parts(data: Path, trainer: Trainer, rows: int, tests: int) -> tuple[list[Any], list[Any]]:
    """What is trained on, and what is measured on: (row, example) of as many rows of every locale, no query in both."""
    read = [
        row
        for path in SOURCES
        for row in deduplicated(read_pairs(data / path, TrainingRow))
        if len(row.label) == 1
    ]
    encoded = relevance.encode(read, [[] for _ in read], trainer.encoder)
    short = [(r, e) for r, e in zip(read, encoded, strict=True) if len(e.ids) <= LONGEST]
    random.Random(RECIPE.seed).shuffle(short)
    second = rounds.folds_of([row for row, _ in short], 2) == 1
    found = []
    for part, wanted in ((~second, rows), (second, tests)):
        of = [pair for pair, mine in zip(short, part, strict=True) if mine]
        chosen = []
        for locale in sorted({row.locale for row, _ in of}):
            chosen += [pair for pair in of if pair[0].locale == locale][: wanted // len(SOURCES)]
        found.append(chosen)
    return found[0], found[1]


def with_noise(examples: Sequence[relevance.Example], share: float) -> list[relevance.Example]:
    """A share of the labels replaced by another grade; of a larger share, those of a smaller and more."""
    changed = []
    for number, example in enumerate(examples):
        chance = random.Random(f"{RECIPE.seed}/{number}")
        if chance.random() < share:
            other = chance.choice([g for g, is_it in zip(GRADES, example.target, strict=True) if not is_it])
            example = relevance.Example(example.ids, tuple(float(g == other) for g in GRADES))  # type: ignore[arg-type]
        changed.append(example)
    return changed


def grades(
    trainer: Trainer, train: Sequence[Any], test: Sequence[Any], share: float, refine: bool, run: Path
) -> Any:
    """Grades (n, 4) of the test rows by a student of the training rows, or those that its training left in ``run``."""
    done = run / "grades.npy"
    if not done.is_file():
        run.mkdir(parents=True, exist_ok=True)
        examples = with_noise([example for _, example in train], share)
        lessons = [distillation.Lesson(RECIPE.stages[0], [row for row, _ in train], examples, [])]
        if refine:
            none = Dev([], np.zeros(0, dtype=bool))  # with one round there is nothing to choose by
            lessons = distillation.refined(trainer, lessons, DISTILLATION, none, run)
        distillation.teach(trainer, lessons, run)
        found, _ = trainer.grades([example for _, example in test])
        np.save(run / "part.npy", found)
        (run / "part.npy").replace(done)
        for checkpoint in run.glob("checkpoint-*.pt"):
            checkpoint.unlink()
    return np.load(done)


def figures(
    shares: Sequence[float], test: Sequence[Any], found: dict[tuple[float, bool], Any]
) -> dict[str, Any]:
    """ROC-AUC of E and S against C and I of each training, paired with the plain one on clean labels."""
    rows = [row for row, _ in test]
    clean = found[min(shares), False]
    lines = []
    for share in shares:
        plain, refined = (compare(rows, found[share, refine], clean)["auc_es"] for refine in (False, True))
        won = compare(rows, found[share, True], found[share, False])["auc_es"]["difference"]
        lost = -(plain["difference"]["value"] or 0.0)
        lines.append(
            {
                "noise": share,
                "plain": {"auc_es": plain["a"], "less_clean": plain["difference"]},
                "distilled": {"auc_es": refined["a"], "less_clean": refined["difference"], "less_plain": won},
                "share_of_loss_won_back": won["value"] / lost if share > min(shares) and lost > 0 else None,
            }
        )
    return {"tests": len(rows), "lines": lines}


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3])
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--tests", type=int, default=1500)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    trainer = Trainer(RECIPE)
    train, test = parts(arguments.data, trainer, arguments.rows, arguments.tests)
    found = {
        (share, refine): grades(
            trainer,
            train,
            test,
            share,
            refine,
            arguments.out / f"{share:.0%}-{'distilled' if refine else 'plain'}",
        )
        for share in arguments.noise
        for refine in (False, True)
    }
    publish(figures(arguments.noise, test, found), arguments.json)


if __name__ == "__main__":
    main()
