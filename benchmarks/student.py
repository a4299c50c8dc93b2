"""The small model that a shop could train instead: a cross-encoder of multilingual-e5-small on the same rows.

    python -m benchmarks.student ROWS.jsonl... --out build/student [--teacher BUNDLE] [--epochs 1] [--dev DEV.jsonl...]
    csrm evaluate --data DEV.jsonl --scorer build/student

One number is learnt, P(E or S), from the labels as given, or half of it from what a bundle says of the rows
(--teacher). All weights but the vocabulary's are trained, in bf16 where the CPU has it. Rows that are among those of
--dev are refused. On two cores 37,000 rows take some 20 minutes an epoch.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import BertForSequenceClassification

from benchmarks import e5_small
from csrm.errors import CsrmError, InputError
from csrm.evaluation.scorers import load_scorer
from csrm.training.data import LabelledPair, TrainingRow, deduplicated, read_pairs, refuse_leaks

TOKENS = 110
"""Of a pair; the longer side is cut."""

BATCH = 64
WARM_UP = 60
HEAD = 5
"""Times the learning rate of the encoder: the head starts from nothing."""


def rows_of(files: Sequence[Path]) -> list[LabelledPair]:
    """The rows that say one grade, each pair once.

    Raises:
        InputError: a file or a row is wrong, or no row of the files says one grade.
    """
    rows = deduplicated(row for file in files for row in read_pairs(file, TrainingRow))
    found = [LabelledPair(**row.model_dump()) for row in rows if len(row.label) == 1]
    if files and not found:
        raise InputError(f"{', '.join(file.name for file in files)}: no row says one grade of E, S, C and I")
    return found


def targets(rows: Sequence[LabelledPair], teacher: str | None) -> NDArray[np.float32]:
    """P(E or S) of each row, (n,): the label's, or the mean of it and a bundle's."""
    given = np.array([row.label in "ES" for row in rows], dtype=np.float32)
    if teacher is None:
        return given
    said = load_scorer(teacher, knowledge="none").score(rows, lambda count: None)
    return (given + 1 - said.irrelevance.astype(np.float32)) / 2


def batches(lengths: NDArray[np.int64], own: random.Random) -> Iterator[NDArray[np.int64]]:
    """Places of rows, in batches of rows of like length, in an order drawn anew."""
    order = np.array(own.sample(range(len(lengths)), len(lengths)))
    found = []
    for begin in range(0, len(order), BATCH * 40):
        near = order[begin : begin + BATCH * 40]
        near = near[np.argsort(lengths[near], kind="stable")]
        found += [near[at : at + BATCH] for at in range(0, len(near), BATCH)]
    own.shuffle(found)
    yield from found


def train(
    rows: Sequence[LabelledPair], wanted: NDArray[np.float32], out: Path, epochs: int, rate: float, seed: int
) -> None:
    """Train a student and leave it in ``out``, as sentence-transformers' ``CrossEncoder`` loads it."""
    torch.manual_seed(seed)
    own = random.Random(seed)
    encoder, tokenizer = e5_small.load()
    encoder.config.num_labels = 1
    encoder.config.architectures = ["BertForSequenceClassification"]
    tokenizer.model_max_length = TOKENS
    model = BertForSequenceClassification._from_config(encoder.config, attn_implementation="eager")
    model.bert.load_state_dict(encoder.state_dict(), strict=False)
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    model.train()
    ids = tokenizer(
        [row.query for row in rows], [row.title for row in rows], truncation=True, max_length=TOKENS
    )["input_ids"]
    lengths = np.array([len(one) for one in ids])
    body = [weight for weight in model.bert.encoder.parameters() if weight.requires_grad]
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW([{"params": body}, {"params": head}], weight_decay=0.01)
    steps = sum(1 for _ in batches(lengths, random.Random(seed))) * epochs
    began, step = time.perf_counter(), 0
    for _ in range(epochs):
        for chosen in batches(lengths, own):
            now = rate * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)
            for group, times in zip(optimizer.param_groups, (1, HEAD), strict=True):
                group["lr"] = now * times
            fed = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
                logits = model(**fed).logits[:, 0].float()
            loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(wanted[chosen]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(body, 1.0)
            optimizer.step()
            step += 1
            if step % 20 == 0:
                left = (time.perf_counter() - began) / step * (steps - step) / 60
                print(f"step {step} of {steps}, loss {loss.item():.3f}, {left:.0f} min left", flush=True)  # noqa: T201
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", help="labelled rows (JSONL)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dev", type=Path, nargs="*", default=[], help="rows that must not be trained on")
    parser.add_argument("--teacher", help="name or folder of a bundle")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2.5e-4)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    if told.epochs < 1 or told.rate <= 0:
        parser.error("--epochs and --rate: more than 0")
    if told.out.exists() and (not told.out.is_dir() or any(told.out.iterdir())):
        parser.error(f"--out: {told.out} exists, and a student there would be lost")
    try:
        rows = rows_of(told.data)
        refuse_leaks(rows, rows_of(told.dev))
        wanted = targets(rows, told.teacher)
    except CsrmError as error:
        parser.error(str(error))
    train(rows, wanted, told.out, told.epochs, told.rate, told.seed)


if __name__ == "__main__":
    main()
