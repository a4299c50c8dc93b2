"""The training of a bundle's cross-encoder, a batch at a time, and where it stands after a kill.

Low-rank changes of every linear map (arXiv 2106.09685), biases, norms and the head are trained; the vocabulary is not.
A row's loss is that of its four grades and that of E and S against C and I. Knows the encoder and the loss; knows no
file of rows.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from csrm.bundle import ENCODER_FILE
from csrm.encoder.bert import Tensors, base_of, changes_of, grade_logits, weights_of
from csrm.encoder.cross_encoder import graded, padded, pair_tokenizer, word_rows
from csrm.encoder.e5 import E5File
from csrm.errors import InputError, TrainingError
from csrm.prompt import GRADES
from csrm.training import record
from csrm.training.heads import Annotators
from csrm.training.recipe import EncoderRecipe
from csrm.training.rounds import Grades

STAGE = "encoder"
"""Of the run, in its log and curves: there is but one."""

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

GRADED_TOKENS = 4096
"""Most tokens of a batch that is only graded."""

TOLD_APART = 8
"""Rows of a batch that cannot all be alike."""
COLLAPSED = 1e-3
"""Spread of a batch's log odds below which its rows are no longer told apart. After too large steps attention makes
all tokens alike, layer by layer, and no gradient leads back."""

CHECKPOINT = "encoder.pt"


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled pair, encoded.

    Attributes:
        ids: tokens of query, notes and product.
        annotator: who gave the label.
        target: (4,), a distribution over the grades E, S, C, I; or, where it sums to more than one, a 1 for each grade
            that the row may have.
    """

    ids: list[int]
    annotator: str
    target: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dev:
    """Clean rows: their tokens, and what is asked of their grades, the higher the better."""

    ids: list[list[int]]
    auc: Callable[[Grades], float]


def target_of(label: str) -> NDArray[np.float32]:
    """What a label says of the four grades, (4,); of one that names several, a 1 for each."""
    said = GIVEN[label] if len(label) == 1 else [float(grade in label) for grade in GRADES]
    return np.array(said, dtype=np.float32)


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
        self._names = list(annotators)
        self.reset()

    def reset(self) -> None:
        """Back to the untrained encoder, the same every time."""
        recipe, file = self.recipe, self._file
        generator = torch.Generator().manual_seed(recipe.seed)
        self.changes = {
            name: _start(name, shape, self._base, generator).requires_grad_()
            for name, shape in changes_of(file.shape, recipe.rank).items()
        }
        self._annotators = Annotators(self._names)
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

    def fit(
        self,
        plan: Sequence[Sequence[Row]],
        run: Path,
        *,
        dev: Dev | None = None,
        on_step: Callable[[record.Progress], None] | None = None,
        part: str = "",
    ) -> None:
        """Train on all batches, or on what a checkpoint says is left of them.

        Args:
            plan: a batch a step.
            run: folder of checkpoint and log; a checkpoint in it is continued.
            dev: its figure is logged at each checkpoint.
            on_step: called after each step.
            part: which teacher this is; empty where it is none.

        Raises:
            InputError: the checkpoint is broken, or of another recipe.
            TrainingError: the loss is not a number, all rows get the same grades, or the folder cannot be written to.
        """
        kept = run / CHECKPOINT
        if kept.is_file():
            self._take_up(kept)
        with record.writing(run):
            log = record.Record(run)
        left = sum(len(row.ids) for batch in plan[self.step :] for row in batch)
        began, tokens, recent = time.perf_counter(), 0, math.nan
        rise = round(len(plan) * self.recipe.warmup)
        for batch in itertools.islice(plan, self.step, None):
            warm = min(1.0, (self.step + 1) / max(1, rise))
            rate = self.recipe.learning_rate * warm * max(0.02, 1 - self.step / len(plan))
            loss = self._learn(batch, rate, warmed_up=self.step >= rise)
            recent = loss if math.isnan(recent) else 0.95 * recent + 0.05 * loss
            tokens += sum(len(row.ids) for row in batch)
            speed = tokens / (time.perf_counter() - began)
            last = self.step == len(plan)
            if last or self.step % self.recipe.checkpoint_steps == 0:
                figures = {"loss": recent, "tokens_per_s": speed}
                if dev is not None:
                    figures["dev_auc_es"] = dev.auc(self.grades(dev.ids))
                with record.writing(run):
                    self._keep(kept)
                    log.write(STAGE, self.step, figures)
            if on_step is not None:
                seconds = (left - tokens) / speed
                on_step(record.Progress(STAGE, self.step, len(plan), recent, speed, seconds, part))
        with record.writing(run):
            log.close()

    @torch.no_grad()
    def grades(self, pairs: Sequence[Sequence[int]], annotators: Sequence[str] | None = None) -> Grades:
        """Grade probabilities (n, 4) by the encoder as it stands.

        Args:
            pairs: token ids.
            annotators: whom each grade is to lean like; a human where null.
        """

        def logits(places: Sequence[int]) -> Tensor:
            found = self._logits([pairs[i] for i in places])
            return found if annotators is None else found + self._annotators([annotators[i] for i in places])

        return graded(pairs, GRADED_TOKENS, logits)

    def save(self, adapter: Path) -> None:
        """Write the encoder beside an adapter, as the scoring engine reads it; the old one stays until then."""
        save_changes(self.changes, adapter / ENCODER_FILE, self.recipe.weight)

    def _learn(self, batch: Sequence[Row], rate: float, *, warmed_up: bool) -> float:
        """One optimiser step; gives its loss.

        Raises:
            TrainingError: the loss is not a number, or all rows get the same grades.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * RATES[group["name"]]
        names = [row.annotator for row in batch]
        said = F.log_softmax(self._logits([row.ids for row in batch]) + self._annotators(names), -1)
        wanted = _distributions([row.target for row in batch])
        odds = torch.logaddexp(said[:, 0], said[:, 1]) - torch.logaddexp(said[:, 2], said[:, 3])
        relevant = F.binary_cross_entropy_with_logits(odds, wanted[:, :2].sum(-1), reduction="none")
        weights = torch.tensor([_weight(row) for row in batch])
        loss = (weights * (relevant - (wanted * said).sum(-1))).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss of step {self.step + 1} is not a number: lower learning_rate.")
        if warmed_up and len(batch) >= TOLD_APART and odds.std() < COLLAPSED:
            raise TrainingError(
                f"At step {self.step + 1} all rows get the same grades, and nothing is learnt any more: lower "
                "learning_rate."
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        tensors = [tensor for group in self._groups.values() for tensor in group]
        torch.nn.utils.clip_grad_norm_(tensors, self.recipe.clip_norm)
        self._optimizer.step()
        self.step += 1
        return loss.item()

    def _keep(self, path: Path) -> None:
        """Write all that a continued training needs."""
        state = {
            "changes": self.changes,
            "annotators": self._annotators.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "recipe": self.recipe.model_dump_json(),
        }
        record.write_state(state, path)

    def _take_up(self, path: Path) -> None:
        """Go on from what ``_keep`` wrote."""
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

    def _logits(self, pairs: Sequence[Sequence[int]]) -> Tensor:
        ids, lengths = padded(pairs)
        weights = weights_of(self._base, self.changes, self._file.shape)
        return grade_logits(weights, word_rows(self._file, ids), lengths)


def save_changes(changes: Tensors, path: Path, weight: float) -> None:
    """Write what training made of the encoder: matrices in bf16, the rest in fp32, and its weight in the mix."""
    tensors = {
        name: (tensor.bfloat16() if tensor.ndim == 2 else tensor.float()).detach().contiguous()
        for name, tensor in changes.items()
    }
    with record.writing(path, resumes=False):
        record.write_tensors(tensors, path, {"weight": f"{weight:g}"})


def _weight(row: Row) -> float:
    """Of a row in the loss; one that may have any grade teaches nothing."""
    return LESS.get(row.annotator, 1.0) if row.target.sum() < 3.5 else 0.0


def _distributions(targets: Sequence[NDArray[np.float32]]) -> Tensor:
    """What targets say, (n, 4): one that may be several grades says the mean of what these say."""
    wanted = torch.from_numpy(np.stack(targets))
    named = wanted.sum(-1, keepdim=True)
    mean = wanted @ torch.tensor([GIVEN[grade] for grade in GRADES]) / named
    return torch.where(named > 1.5, mean, wanted)


def _start(name: str, shape: tuple[int, ...], base: Tensors, generator: torch.Generator) -> Tensor:
    """Where training starts: the second factor from nothing, so that nothing is changed yet."""
    if name in base:
        return base[name].clone()
    if name.endswith(".B"):
        return torch.zeros(shape)
    inputs = base["norm.weight"].shape[0] if len(shape) == 1 else shape[-1]
    found: Tensor = (torch.rand(shape, generator=generator) * 2 - 1) * inputs**-0.5
    return found
