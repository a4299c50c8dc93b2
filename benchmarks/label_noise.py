"""Wrong labels: what they cost a training, and what a round of self-distillation wins back.

    python -m benchmarks.label_noise ../shared/data --out build/noise [--noise 0 .1 .2 .3] [--rows 5000] [--json FILE]

Rows that an LLM graded, whose queries are cut in two: ``--rows`` of the one part are trained on, with a share of the
labels replaced by another grade at random; ``--tests`` of the other, with their labels as they are, measure. What is
trained is the cross-encoder, which learns in minutes where the language model takes hours. Each share is trained twice,
on the labels as they then stand, and on those that one round of distillation makes of them, with the same seed and
steps. Finished trainings in ``--out`` are not done again.
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
from csrm.encoder.cross_encoder import encode_pairs
from csrm.encoder.e5 import installed
from csrm.evaluation.compare import compare
from csrm.prompt import GRADES
from csrm.training import rounds
from csrm.training.data import TrainingRow, deduplicated, read_pairs
from csrm.training.encoder_trainer import Dev, EncoderTrainer, target_of
from csrm.training.encoding import planned, refined
from csrm.training.recipe import DistillationSettings, EncoderRecipe
from csrm_cli.training_progress import log_step

SOURCES = tuple(f"llm_judged/{locale}.jsonl.gz" for locale in ("en", "es", "ja", "ko", "zh-TW"))
DISTILLATION = DistillationSettings(folds=4, rounds=1)
RECIPE = EncoderRecipe.model_validate(
    {
        "epochs": 3,
        "batch_rows": 16,  # some thousand rows are few steps of 64
        "sources": [{"path": "as named"}],
        "dev": ["as named"],
    }
)
NOBODY = Dev([], lambda grades: 0.0)
"""With one round there is nothing to choose by."""


def parts(data: Path, rows: int, tests: int) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """What is trained on, and what is measured on: as many rows of every locale, no query in both."""
    read = [
        row
        for path in SOURCES
        for row in deduplicated(read_pairs(data / path, TrainingRow))
        if len(row.label) == 1
    ]
    random.Random(RECIPE.seed).shuffle(read)
    second = rounds.folds_of(read, 3) == 2  # by thirds: halves would be the distillation's own folds
    found = []
    for part, wanted in ((~second, rows), (second, tests)):
        of = [row for row, mine in zip(read, part, strict=True) if mine]
        chosen = []
        for locale in sorted({row.locale for row in of}):
            chosen += [row for row in of if row.locale == locale][: wanted // len(SOURCES)]
        found.append(chosen)
    return found[0], found[1]


def with_noise(rows: Sequence[TrainingRow], share: float) -> list[TrainingRow]:
    """A share of the labels replaced by another grade; of a larger share, those of a smaller and more."""
    changed = []
    for number, row in enumerate(rows):
        chance = random.Random(f"{RECIPE.seed}/{number}")
        if chance.random() < share:
            row = row.model_copy(update={"label": chance.choice([g for g in GRADES if g != row.label])})
        changed.append(row)
    return changed


def grades(
    trainer: EncoderTrainer,
    train: Sequence[TrainingRow],
    test: Sequence[TrainingRow],
    share: float,
    refine: bool,
    run: Path,
) -> Any:
    """Grades (n, 4) of the test rows by a student of the training rows, or those that its training left in ``run``."""
    done = run / "grades.npy"
    if not done.is_file():
        run.mkdir(parents=True, exist_ok=True)
        noisy = list(zip(with_noise(train, share), _encoded(trainer, train), strict=True))
        epochs = []
        for number in range(RECIPE.epochs):
            random.Random(f"{RECIPE.seed}/{number}").shuffle(noisy)
            epochs.append(list(noisy))
        labels = {row.key: target_of(row.label) for row, _ in noisy}
        if refine:
            labels = refined(trainer, DISTILLATION, epochs, labels, NOBODY, run, on_step=log_step)
        trainer.reset()
        trainer.fit(planned(RECIPE, epochs, labels), run, on_step=log_step)
        found = trainer.grades(_encoded(trainer, test), [row.label_by for row in test])
        np.save(run / "part.npy", found)
        (run / "part.npy").replace(done)
    return np.load(done)


def _encoded(trainer: EncoderTrainer, rows: Sequence[TrainingRow]) -> list[list[int]]:
    return encode_pairs(trainer.tokenizer, [(row.query, [], row.title) for row in rows])


def figures(
    shares: Sequence[float], rows: Sequence[TrainingRow], found: dict[tuple[float, bool], Any]
) -> dict[str, Any]:
    """ROC-AUC of E and S against C and I of each training, paired with the plain one on clean labels."""
    clean = found[min(shares), False]
    lines = []
    for share in shares:
        plain, distilled = (compare(rows, found[share, refine], clean)["auc_es"] for refine in (False, True))
        won = compare(rows, found[share, True], found[share, False])["auc_es"]["difference"]
        lost = -(plain["difference"]["value"] or 0.0)
        lines.append(
            {
                "noise": share,
                "plain": {"auc_es": plain["a"], "less_clean": plain["difference"]},
                "distilled": {
                    "auc_es": distilled["a"],
                    "less_clean": distilled["difference"],
                    "less_plain": won,
                },
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
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    train, test = parts(arguments.data, arguments.rows, arguments.tests)
    trainer = EncoderTrainer(installed(), RECIPE, [row.label_by for row in train])
    found = {
        (share, refine): grades(
            trainer,
            train,
            test,
            share,
            refine,
            arguments.out / f"{share:.0%}-{'distilled' if refine else 'plain'}",
        )
        for refine in (False, True)
        for share in sorted(arguments.noise, reverse=True)
    }
    publish(figures(arguments.noise, test, found), arguments.json)


if __name__ == "__main__":
    main()
