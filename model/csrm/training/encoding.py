"""The cross-encoder of a bundle, trained on labelled rows: continued where a kill left it.

Low-rank changes of every linear map (arXiv 2106.09685), biases, norms and the head are trained; the vocabulary is not.
A row's loss is that of its four grades and that of E and S against C and I. Knows rows and the encoder; knows no
language model.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer
from torch import Tensor

from csrm.bundle import ENCODER_FILE
from csrm.encoder.bert import Tensors, base_of, changes_of, grade_logits, weights_of
from csrm.encoder.cross_encoder import encode_pairs, padded, pair_tokenizer, word_rows
from csrm.encoder.e5 import E5File, installed
from csrm.errors import InputError, TrainingError
from csrm.training import continuing, record
from csrm.training.augmentation import knowledge_lines
from csrm.training.data import (
    TrainingRow,
    deduplicated,
    origins_of,
    read_pairs,
    refuse_leaks,
    refuse_one_kind,
)
from csrm.training.drawing import drawn
from csrm.training.heads import Annotators
from csrm.training.recipe import DataSource, KnowledgeSettings
from csrm.training.run import under

log = logging.getLogger(__name__)

GIVEN = {
    "E": (0.88, 0.08, 0.02, 0.02),
    "S": (0.08, 0.84, 0.04, 0.04),
    "C": (0.03, 0.07, 0.80, 0.10),
    "I": (0.02, 0.05, 0.08, 0.85),
}
"""What a label is taken to say: the grades E, S, C, I, for people who judge the same pair differ, and mostly by one."""

LESS = {"author": 0.7, "shop": 0.7}
"""Weight of rows that nobody searched for, by who gave the label; of all others 1."""

RATES = {"factor": 1.0, "rest": 0.3, "head": 1.0, "annotators": 5.0}
"""Of the learning rate: for the factors, for biases and norms, for the head, for how annotators lean."""

NEIGHBOURS = 40
"""Batches within which rows of like length come together."""

CHECKPOINT = "encoder.pt"


class EncoderRecipe(BaseModel):
    """Everything that decides what comes out of the training of a cross-encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    rank: int = Field(default=24, ge=1, description="Of the changes of each linear map.")
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=60, ge=0)
    batch_rows: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_steps: int = Field(default=100, ge=1)
    weight: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Of the encoder in the log odds of what it and the language model say together.",
    )
    sources: list[DataSource] = Field(
        min_length=1, description="Rows; a share is drawn anew for every epoch."
    )
    knowledge: KnowledgeSettings | None = Field(
        default=None, description="What is told of the queries, as in serving; nothing where null."
    )
    dev: list[Path] = Field(min_length=1, description="Clean rows: never trained on.")


@dataclass(frozen=True, slots=True)
class Step:
    """Where a training is."""

    step: int
    steps: int
    loss: float
    tokens_per_s: float
    seconds_left: float


class EncoderTrainer:
    """The encoder with what is trained of it.

    Args:
        file: the untrained encoder.
        recipe: how it is trained.
        annotators: whose labels there are.
    """

    def __init__(self, file: E5File, recipe: EncoderRecipe, annotators: Sequence[str] = ()) -> None:
        self.recipe = recipe
        self.tokenizer = pair_tokenizer(file)
        self._file, self._base = file, base_of(file)
        generator = torch.Generator().manual_seed(recipe.seed)
        self.changes = {
            name: _start(name, shape, self._base, generator).requires_grad_()
            for name, shape in changes_of(file.shape, recipe.rank).items()
        }
        self._annotators = Annotators(annotators)
        groups: dict[str, list[Tensor]] = {name: [] for name in RATES}
        for name, tensor in self.changes.items():
            in_layers = "rest" if not name.endswith((".A", ".B")) else "factor"
            groups[in_layers if name.startswith("layer.") else "head"].append(tensor)
        groups["annotators"] = [p for p in self._annotators.parameters() if p.numel()]
        self._groups = {name: tensors for name, tensors in groups.items() if tensors}
        self._optimizer = torch.optim.AdamW(
            [{"params": tensors, "name": name} for name, tensors in self._groups.items()],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self.step = 0

    def learn(self, pairs: Sequence[Sequence[int]], rows: Sequence[TrainingRow], rate: float) -> float:
        """One optimiser step on a batch; gives its loss.

        Raises:
            TrainingError: the loss is not a number.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * RATES[group["name"]]
        said = F.log_softmax(self._logits(pairs) + self._annotators([row.label_by for row in rows]), -1)
        wanted = torch.tensor([_wanted(row.label) for row in rows])
        odds = torch.logaddexp(said[:, 0], said[:, 1]) - torch.logaddexp(said[:, 2], said[:, 3])
        relevant = F.binary_cross_entropy_with_logits(odds, wanted[:, :2].sum(-1), reduction="none")
        weights = torch.tensor([LESS.get(row.label_by, 1.0) for row in rows])
        loss = (weights * (relevant - (wanted * said).sum(-1))).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss of step {self.step + 1} is not a number: lower learning_rate.")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        tensors = [tensor for group in self._groups.values() for tensor in group]
        torch.nn.utils.clip_grad_norm_(tensors, self.recipe.clip_norm)
        self._optimizer.step()
        self.step += 1
        return loss.item()

    def keep(self, path: Path) -> None:
        """Write all that a continued training needs."""
        state = {
            "changes": self.changes,
            "annotators": self._annotators.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "recipe": self.recipe.model_dump_json(),
        }
        partial = path.with_suffix(".part")
        with record.writing(path):
            torch.save(state, partial)
            partial.replace(path)

    def take_up(self, path: Path) -> None:
        """Go on from what ``keep`` wrote.

        Raises:
            InputError: it is of another recipe, or broken.
        """
        try:
            state: dict[str, Any] = torch.load(path)
            same = state["recipe"] == self.recipe.model_dump_json()
        except Exception as error:  # torch and pickle have many
            raise InputError(f"{path} cannot be read ({error}): take it away.") from error
        if not same:
            raise InputError(f"{path} is of another recipe: name another --run, or take it away.")
        with torch.no_grad():
            for name, tensor in state["changes"].items():
                self.changes[name].copy_(tensor)
        self._annotators.load_state_dict(state["annotators"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def save(self, adapter: Path) -> None:
        """Write the encoder beside an adapter, as the scoring engine reads it; the old one stays until then."""
        save_changes(self.changes, adapter / ENCODER_FILE, self.recipe.weight)

    def _logits(self, pairs: Sequence[Sequence[int]]) -> Tensor:
        ids, lengths = padded(pairs)
        weights = weights_of(self._base, self.changes, self._file.shape)
        return grade_logits(weights, word_rows(self._file, ids), lengths)


def fit_encoder(
    recipe: EncoderRecipe,
    adapter: Path,
    data: Sequence[Path],
    run: Path,
    *,
    on_step: Callable[[Step], None] | None = None,
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
        InputError: a file is missing or wrong, a dev row stands in the training rows, all rows are of one kind, or the
            run was begun by another recipe or with other rows.
        TrainingError: the loss is no number, or a folder cannot be written to.
        MissingExtraError, BaseModelError: the encoder that it starts from cannot be had.
    """
    if not adapter.is_dir():
        raise InputError(f"{adapter} is no folder: name that of a trained adapter.")
    dev = [row for path in recipe.dev for row in read_pairs(under(data, path))]
    files = [read_pairs(under(data, source.path), TrainingRow) for source in recipe.sources]
    rows = [row for part in files for row in part]
    refuse_leaks(rows, dev)
    refuse_one_kind("sources", rows)
    trainer = EncoderTrainer(installed(), recipe, [row.label_by for row in rows])
    batches = [
        batch
        for number in range(recipe.epochs)
        for batch in _epoch(recipe, files, data, number, trainer.tokenizer)
    ]
    mark = hashlib.sha256(
        repr(
            [
                (ids, row.label, row.label_by)
                for pairs, part in batches
                for ids, row in zip(pairs, part, strict=True)
            ]
        ).encode()
    ).hexdigest()
    continuing.refuse_other_rows(run, mark)
    kept = run / CHECKPOINT
    if kept.is_file():
        trainer.take_up(kept)
        log.info("goes on from step %d", trainer.step)
    with record.writing(run):
        run.mkdir(parents=True, exist_ok=True)
        (run / continuing.ROWS).write_text(mark + "\n", encoding="utf-8")
    left = sum(len(ids) for pairs, _ in batches[trainer.step :] for ids in pairs)
    began, tokens = time.perf_counter(), 0
    for pairs, batch in batches[trainer.step :]:
        done = trainer.step / len(batches)
        warm = min(1.0, (trainer.step + 1) / max(1, recipe.warmup_steps))
        loss = trainer.learn(pairs, batch, recipe.learning_rate * warm * max(0.02, 1 - done))
        tokens += sum(map(len, pairs))
        if trainer.step % recipe.checkpoint_steps == 0:
            trainer.keep(kept)
        if on_step is not None:
            speed = tokens / (time.perf_counter() - began)
            on_step(Step(trainer.step, len(batches), loss, speed, (left - tokens) / speed))
    trainer.save(adapter)
    return adapter / ENCODER_FILE


def save_changes(changes: Tensors, path: Path, weight: float) -> None:
    """Write what training made of the encoder: matrices in bf16, the rest in fp32, and its weight in the mix."""
    tensors = {
        name: (tensor.bfloat16() if tensor.ndim == 2 else tensor.float()).detach().contiguous()
        for name, tensor in changes.items()
    }
    with record.writing(path, resumes=False):
        record.write_tensors(tensors, path, {"weight": f"{weight:g}"})


Batch = tuple[list[list[int]], list[TrainingRow]]


def _epoch(
    recipe: EncoderRecipe,
    files: Sequence[Sequence[TrainingRow]],
    data: Sequence[Path],
    number: int,
    tokenizer: Tokenizer,
) -> Iterator[Batch]:
    """The batches of an epoch, the same whenever they are asked for: rows of like length, in an order of its own."""
    origin = origins_of([row for part in files for row in part])
    chosen: list[TrainingRow] = []
    repeats: dict[tuple[str, str], int] = {}
    for source, part in zip(recipe.sources, files, strict=True):
        for place in drawn(part, source.share, recipe.seed + number, origin):
            chosen.append(part[place])
            repeats.setdefault(part[place].key, source.repeat)
    rows = [row for row in deduplicated(chosen) for _ in range(repeats[row.key])]
    chance = random.Random(f"{recipe.seed}/{number}")
    chance.shuffle(rows)
    notes: list[list[str]] = [[] for _ in rows]
    if recipe.knowledge is not None:
        entries = [under(data, path) for path in recipe.knowledge.entries]
        settings = recipe.knowledge.model_copy(update={"entries": entries})
        notes = knowledge_lines(rows, settings, recipe.seed + number)
    ids = encode_pairs(
        tokenizer, [(row.query, told, row.title) for row, told in zip(rows, notes, strict=True)]
    )
    lengths = np.array([len(one) for one in ids])
    found: list[NDArray[np.intp]] = []
    for begin in range(0, len(rows), recipe.batch_rows * NEIGHBOURS):
        near = np.arange(begin, min(begin + recipe.batch_rows * NEIGHBOURS, len(rows)))
        near = near[np.argsort(lengths[near], kind="stable")]
        found += [near[at : at + recipe.batch_rows] for at in range(0, len(near), recipe.batch_rows)]
    chance.shuffle(found)
    for places in found:
        yield [ids[i] for i in places], [rows[i] for i in places]


def _wanted(label: str) -> list[float]:
    """What a label says; one that names several grades says the mean of them."""
    said = [GIVEN[grade] for grade in label]
    return [sum(column) / len(said) for column in zip(*said, strict=True)]


def _start(name: str, shape: tuple[int, ...], base: Tensors, generator: torch.Generator) -> Tensor:
    """Where training starts: the second factor from nothing, so that nothing is changed yet."""
    if name in base:
        return base[name].clone()
    if name.endswith(".B"):
        return torch.zeros(shape)
    inputs = base["norm.weight"].shape[0] if len(shape) == 1 else shape[-1]
    found: Tensor = (torch.rand(shape, generator=generator) * 2 - 1) * inputs**-0.5
    return found
