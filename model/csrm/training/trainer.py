"""The training loop: LoRA on a base LLM, stage after stage, resumable after a kill with the same result.

Knows the loop and its checkpoints; knows no task but the loss it is handed, and nothing of calibration or bundles.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from csrm.errors import BaseModelError, CsrmError
from csrm.prompt import GRADES, PromptEncoder
from csrm.scoring.base import prepare_base
from csrm.scoring.batching import batches
from csrm.training import relevance
from csrm.training.forward import last_hidden
from csrm.training.recipe import Recipe, Stage
from csrm.training.relevance import Example

log = logging.getLogger(__name__)


class TrainingError(CsrmError):
    """Training went wrong in a way that more steps cannot mend."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One optimiser step, for a display: where the run stands and how fast it goes."""

    stage: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


class Trainer:
    """Trains the adapter of a recipe.

    Args:
        recipe: what to train.
        run: folder of the run; a checkpoint in it is continued.
        device: torch device; CUDA where there is one.
    """

    def __init__(self, recipe: Recipe, run: Path, *, device: str | None = None) -> None:
        self.recipe = recipe
        self.run = run
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.manual_seed(recipe.seed)
        base = prepare_base(recipe.base)
        try:
            tokenizer = AutoTokenizer.from_pretrained(base)
            model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        except (OSError, ValueError) as error:
            raise BaseModelError(f"The base {recipe.base} cannot be loaded: {error}") from error
        self.encoder = PromptEncoder(tokenizer, recipe.prompt, recipe.limits)
        lora = LoraConfig(
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model: PeftModel = get_peft_model(model, lora).to(self.device)
        self.model.train()
        order = [self.encoder.label_grades.index(grade) for grade in GRADES]
        base_model: Any = self.model.get_base_model()
        head = base_model.get_output_embeddings().weight
        self.label_rows = head[[self.encoder.label_ids[i] for i in order]].detach().float()
        self._last_hidden = last_hidden(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def fit(
        self, stage: Stage, examples: Sequence[Example], *, on_step: Callable[[Progress], None] | None = None
    ) -> None:
        """Train on the examples of a stage, or on what a checkpoint says is left of it.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        recipe = self.recipe
        plan = list(self._plan(stage, examples))
        optimiser = torch.optim.AdamW(
            self.parameters, lr=stage.learning_rate, weight_decay=recipe.weight_decay
        )
        done = self._resume(stage, optimiser)
        if done:
            log.info("stage %s: continuing after step %d of %d", stage.name, done, len(plan))
        started, tokens, recent = time.monotonic(), 0, 0.0
        for step, rows in enumerate(plan[done:], done + 1):
            torch.manual_seed(recipe.seed + step)  # dropout is the same after a resume
            for group in optimiser.param_groups:
                group["lr"] = stage.learning_rate * _schedule(step, len(plan), stage.warmup)
            value = self._step([examples[i] for i in rows], optimiser)
            if not math.isfinite(value):
                raise TrainingError(
                    f"The loss of stage {stage.name} is {value} at step {step}: lower the learning rate; "
                    f"the last good state is in {self.run}."
                )
            recent = value if step == done + 1 else 0.98 * recent + 0.02 * value
            tokens += sum(len(examples[i].ids) for i in rows)
            rate = tokens / (time.monotonic() - started)
            if step % recipe.checkpoint_steps == 0 or step == len(plan):
                self._checkpoint(stage, step, optimiser)
                self._log(
                    {"stage": stage.name, "step": step, "loss": round(recent, 4), "tokens_per_s": round(rate)}
                )
            if on_step:
                left = (
                    sum(len(examples[i].ids) for later in plan[step:] for i in later)
                    if step % 20 == 0
                    else -1
                )
                on_step(Progress(stage.name, step, len(plan), recent, rate, left / rate if left >= 0 else -1))

    def save_adapter(self) -> Path:
        """Write the adapter in bf16, as peft reads it."""
        folder = self.run / "adapter"
        state = {
            name: tensor.to(torch.bfloat16) for name, tensor in get_peft_model_state_dict(self.model).items()
        }
        for config in self.model.peft_config.values():
            config.base_model_name_or_path = self.recipe.base  # not the folder it was loaded from
        self.model.save_pretrained(str(folder), state_dict=state, safe_serialization=True)
        return folder

    def _step(self, examples: Sequence[Example], optimiser: torch.optim.Optimizer) -> float:
        ids, last, targets = (tensor.to(self.device) for tensor in relevance.padded(examples))
        value = relevance.loss(self._last_hidden(ids, last) @ self.label_rows.T, targets)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(value.detach())

    def _plan(self, stage: Stage, examples: Sequence[Example]) -> Iterator[list[int]]:
        """Batches of all epochs in their order: shuffled, then rows of like length together within large blocks."""
        for epoch in range(stage.epochs):
            shuffle = random.Random(f"{self.recipe.seed}/{stage.name}/{epoch}")
            order = list(range(len(examples)))
            shuffle.shuffle(order)
            plan = []
            for start in range(0, len(order), 2048):
                block = order[start : start + 2048]
                cut = batches([len(examples[i].ids) for i in block], self.recipe.batch_tokens)
                plan += [[block[i] for i in rows] for rows in cut]
            shuffle.shuffle(plan)
            yield from plan

    def _checkpoint(self, stage: Stage, step: int, optimiser: torch.optim.Optimizer) -> None:
        state = {
            "stage": stage.name,
            "step": step,
            "adapter": [p.detach().cpu() for p in self.parameters],
            "optimiser": optimiser.state_dict(),
        }
        partial = self.run / "checkpoint.part"
        torch.save(state, partial)
        partial.replace(self.run / f"checkpoint-{stage.name}.pt")

    def _resume(self, stage: Stage, optimiser: torch.optim.Optimizer) -> int:
        path = self.run / f"checkpoint-{stage.name}.pt"
        if not path.is_file():
            return 0
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["adapter"], strict=True):
                parameter.copy_(saved)
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])

    def _log(self, line: dict[str, Any]) -> None:
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then cosine down to a tenth."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return step / rise
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
