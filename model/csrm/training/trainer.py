"""The training loop: LoRA on a base LLM, stage after stage, resumable after a kill with the same result.

Knows the loop and its checkpoints; knows no task but the loss it is handed, and nothing of calibration or bundles.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from csrm.errors import BaseModelError, InputError, MissingExtraError, TrainingError
from csrm.prompt import GRADES, PromptEncoder
from csrm.scoring.base import prepare_base
from csrm.scoring.batching import batches
from csrm.scoring.cpu import lacking_bf16
from csrm.training import parallel, relevance, translation
from csrm.training.asked import write_asked
from csrm.training.forward import forward_of
from csrm.training.heads import Annotators, ExitHead
from csrm.training.recipe import HardwareSettings, Recipe, Stage
from csrm.training.record import Progress, Record, write_state, writing
from csrm.training.starting import WEIGHTS

log = logging.getLogger(__name__)

EXIT_RATE = 3.0
ANNOTATOR_RATE = 30.0
"""Learning rates beside the adapter's: a head of a few numbers can move faster than the model it reads."""

LOOK_STEPS = 20
"""Steps between two looks at the loss on a GPU."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one optimiser step, all of one task."""

    rows: list[int]
    tokens: int
    translates: bool


@dataclass(frozen=True, slots=True)
class Dev:
    """Clean rows, encoded; ``relevant`` says E or S."""

    examples: list[relevance.Example]
    relevant: NDArray[np.bool_]

    def auc(self, grades: NDArray[np.float32]) -> float:
        """ROC-AUC of E and S against C and I of grade probabilities (n, 4); nan where all are of one kind."""
        return relevance.relevant_auc(self.relevant, grades)


class Trainer:
    """Trains the adapter of a recipe, and what stands beside it.

    Args:
        recipe: what to train.
        annotators: whose labels there are.
        start: folder of the adapter that every training starts from; the bare base where null.
        device: torch device; CUDA where there is one.

    Raises:
        BaseModelError: the base cannot be loaded.
        InputError: the adapter to start from does not fit, or this machine cannot do what ``recipe.hardware`` says.
        MissingExtraError: the ``four-bit`` extra is not installed.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        annotators: Sequence[str] = ("human",),
        start: Path | None = None,
        device: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if lacking := lacking_bf16(self.device):
            log.info("training in fp32: %s", lacking)
        dtype = torch.float32 if lacking else torch.bfloat16
        base = prepare_base(recipe.base)
        options = _loading(recipe.hardware, self.device)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(base)
            model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **options)
        except (OSError, ValueError, ImportError) as error:
            raise BaseModelError(f"The base {recipe.base} cannot be loaded: {error}") from error
        self.encoder = PromptEncoder(self.tokenizer, recipe.prompt, recipe.limits)
        lora = LoraConfig(
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model: PeftModel = get_peft_model(model, lora)
        if not recipe.hardware.four_bit:  # a base in 4 bits is there already
            self.model.to(self.device)
        self.model.train()
        base_model: Any = self.model.get_base_model()
        self.embedding: Tensor = base_model.get_output_embeddings().weight.detach()
        order = [self.encoder.label_grades.index(grade) for grade in GRADES]
        self.label_rows = self.embedding[[self.encoder.label_ids[i] for i in order]].float()
        self.epsilon: float = getattr(model.config, "rms_norm_eps", 1e-6)
        self._forward = forward_of(self.model, recipe.hardware, dtype)
        self._annotators = annotators
        self._start = start
        self.reset()

    def reset(self) -> None:
        """Back to the adapter that training starts from, the same every time."""
        torch.manual_seed(self.recipe.seed)
        for module in self.model.modules():
            if isinstance(module, LoraLayer):
                module.reset_lora_parameters("default", init_lora_weights=True)  # type: ignore[no-untyped-call]
        if self._start is not None:
            self.load(self._start)
        base: Any = self.model.get_base_model()
        self.exit: ExitHead | None = None
        if self.recipe.exit is not None:
            layers = len(base.model.layers)
            if self.recipe.exit.layer >= layers:
                raise InputError(
                    f"exit.layer is {self.recipe.exit.layer}, but the base has only {layers} layers."
                )
            self.exit = ExitHead(1 + base.model.norm.weight.float(), self.label_rows).to(self.device)
        names = self._annotators if self.recipe.annotators else ()
        self.annotators = Annotators(names).to(self.device)
        self.groups: list[tuple[float, list[nn.Parameter]]] = [
            (1.0, [p for p in self.model.parameters() if p.requires_grad]),
            (EXIT_RATE, list(self.exit.parameters()) if self.exit is not None else []),
            (ANNOTATOR_RATE, [p for p in self.annotators.parameters() if p.numel()]),
        ]
        self.parameters = [p for _, group in self.groups for p in group]

    def fit(
        self,
        stage: Stage,
        examples: Sequence[relevance.Example],
        translations: Sequence[translation.Example],
        run: Path,
        *,
        before: Path | None = None,
        dev: Dev | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> None:
        """Train on the examples of a stage, or on what a checkpoint says is left of it.

        Args:
            stage: learning rate, epochs and how much is translated.
            examples: graded rows.
            translations: parallel text.
            run: folder of checkpoints and log; a checkpoint of this stage in it is continued.
            before: folder of the adapter as the stage before left it, for who must go back to it.
            dev: clean rows whose ROC-AUC is logged at each checkpoint.
            on_step: called after each optimiser step.

        Raises:
            InputError: the checkpoint is broken, or of another training.
            TrainingError: the loss is no longer a number, or the folder cannot be written to.
        """
        recipe = self.recipe
        record = None
        if parallel.number() == 0:
            with writing(run):
                record = Record(run)
        plan = self._plan(stage, examples, translations)
        vocabulary = torch.tensor(translation.vocabulary(translations), device=self.device)
        optimiser = torch.optim.AdamW(
            [{"params": group, "lr": 0.0, "rate": rate} for rate, group in self.groups if group],
            weight_decay=recipe.weight_decay,
        )
        done = self._resume(stage, optimiser, run)
        if done:
            log.info("stage %s: continuing after step %d of %d", stage.name, done, len(plan))
        started, tokens, recent = time.monotonic(), 0, math.nan
        waiting: list[Tensor] = []  # losses not looked at yet: each look waits for the GPU
        for step, batch in enumerate(plan[done:], done + 1):
            torch.manual_seed(recipe.seed + step)  # dropout is the same after a resume
            for group in optimiser.param_groups:
                group["lr"] = group["rate"] * stage.learning_rate * _schedule(step, len(plan), stage.warmup)
            rows = parallel.share(batch.rows)
            value = torch.zeros((), device=self.device)
            if rows:
                if batch.translates:
                    value = self._translation_loss([translations[i] for i in rows], vocabulary)
                else:
                    value = self._relevance_loss([examples[i] for i in rows])
                value.backward()  # type: ignore[no-untyped-call]
            parallel.average(self.parameters, len(rows) / len(batch.rows))
            torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            tokens += batch.tokens
            waiting.append(value.detach())
            last = step == len(plan)
            keep = last or step % recipe.checkpoint_steps == 0
            if self.device.type == "cpu" or keep or step % LOOK_STEPS == 0:
                for loss in torch.stack(waiting).tolist():
                    recent = loss if math.isnan(recent) else 0.95 * recent + 0.05 * loss
                waiting = []
                good = math.isfinite(recent)
                if good and keep:  # this step's own update has not shown in a loss yet
                    good = all(bool(parameter.isfinite().all()) for parameter in self.parameters)
                if not good:
                    raise self._give_up(stage, optimiser, run, step, before)
                rate = tokens / (time.monotonic() - started)
                if keep:
                    figures = {"loss": recent, "tokens_per_s": rate}
                    if dev is not None:
                        figures["dev_auc_es"] = dev.auc(self.grades(dev.examples)[0])
                    if record is not None:
                        with writing(run):
                            self._checkpoint(stage, step, optimiser, run)
                            record.write(stage.name, step, figures)
                if on_step:
                    left = sum(later.tokens for later in plan[step:])
                    on_step(Progress(stage.name, step, len(plan), recent, rate, left / rate))
        if record is not None:
            with writing(run):
                record.close()

    @torch.no_grad()
    def grades(
        self, examples: Sequence[relevance.Example], *, as_annotated: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Grade probabilities (n, 4) of the model as it stands, and those of its early exit, where it has one.

        Args:
            examples: encoded rows; the targets are not looked at.
            as_annotated: lean like each row's annotator instead of a human.
        """
        full = np.empty((len(examples), 4), dtype=np.float32)
        early = np.empty_like(full) if self.exit is not None else None
        for rows in batches([len(example.ids) for example in examples], 4 * self.recipe.batch_tokens):
            part = [examples[i] for i in rows]
            logits, exit_logits, _ = self._logits(part)
            if as_annotated:
                logits = logits + self.annotators([example.annotator for example in part])
            full[rows] = logits.softmax(-1).cpu().numpy()
            if early is not None and exit_logits is not None:
                early[rows] = exit_logits.softmax(-1).cpu().numpy()
        return full, early

    @torch.no_grad()
    def states(
        self, examples: Sequence[relevance.Example], layers: Sequence[int]
    ) -> tuple[NDArray[np.float32], dict[int, NDArray[np.float32]]]:
        """Grade probabilities (n, 4), and the residual streams (n, hidden) of the last tokens after some layers."""
        grades = np.empty((len(examples), 4), dtype=np.float32)
        found = {
            layer: np.empty((len(examples), self.label_rows.shape[1]), dtype=np.float32) for layer in layers
        }
        for rows in batches([len(example.ids) for example in examples], self.recipe.batch_tokens):
            ids, last, _ = (t.to(self.device) for t in relevance.padded([examples[i] for i in rows]))
            hidden, seen = self._run(ids, last, layers)
            grades[rows] = (hidden @ self.label_rows.T).softmax(-1).cpu().numpy()
            for layer, residual in seen.items():
                found[layer][rows] = residual.float().cpu().numpy()
        return grades, found

    def load(self, adapter: Path) -> None:
        """Take the weights of an adapter of the recipe's rank.

        Raises:
            InputError: the folder holds no such adapter.
        """
        try:
            state = load_file(adapter / WEIGHTS)
            result: Any = set_peft_model_state_dict(self.model, state)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InputError(f"{adapter} holds no adapter that fits: {error}") from error
        if result.unexpected_keys:
            raise InputError(f"{adapter} adapts what this base has not, e.g. {result.unexpected_keys[0]}.")
        if missing := [name for name in result.missing_keys if "lora_" in name]:
            raise InputError(f"{adapter} does not adapt all that a recipe trains, e.g. not {missing[0]}.")

    def save(self, run: Path) -> Path:
        """Write the adapter in bf16, as peft reads it, how it is asked and the exit's head beside it; says where it is.

        Raises:
            TrainingError: it cannot be written.
        """
        folder = run / "adapter"
        if parallel.number() > 0:
            return folder
        state = {
            name: tensor.to(torch.bfloat16) for name, tensor in get_peft_model_state_dict(self.model).items()
        }
        for config in self.model.peft_config.values():
            config.base_model_name_or_path = self.recipe.base  # not the folder it was loaded from
        with writing(run):
            self.model.save_pretrained(str(folder), state_dict=state, safe_serialization=True)
            write_asked(self.recipe, folder)
            if self.exit is not None and self.recipe.exit is not None:
                self.exit.save(folder, self.recipe.exit.layer)
        return folder

    def _logits(self, examples: Sequence[relevance.Example]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Logits (n, 4) of the model and of its exit, and the targets."""
        ids, last, targets = (tensor.to(self.device) for tensor in relevance.padded(examples))
        layer = self.recipe.exit.layer if self.recipe.exit is not None else None
        hidden, seen = self._run(ids, last, [] if layer is None else [layer])
        exit_logits = self.exit(seen[layer], self.epsilon) if self.exit is not None and layer else None
        return hidden @ self.label_rows.T, exit_logits, targets

    def _run(self, ids: Tensor, last: Tensor, layers: Sequence[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Normed hidden states of the last tokens (n, hidden), and their residual streams after some layers."""
        seen: dict[int, Tensor] = {}

        def tap(layer: int, residual: Tensor) -> None:
            if layer in layers:
                seen[layer] = residual[torch.arange(len(last), device=self.device), last]

        return self._forward(ids, last, tap=tap if layers else None), seen

    def _relevance_loss(self, examples: Sequence[relevance.Example]) -> Tensor:
        logits, exit_logits, targets = self._logits(examples)
        if self.recipe.annotators:
            offsets = self.annotators([example.annotator for example in examples])
            logits = logits + offsets
        value = relevance.loss(logits, targets)
        if exit_logits is not None and self.recipe.exit is not None:
            # The exit learns as much from what the whole model says as from the labels.
            if self.recipe.annotators:
                exit_logits = exit_logits + offsets.detach()
            taught = relevance.loss(exit_logits, logits.detach().softmax(-1))
            weight = self.recipe.exit.weight
            early = 0.5 * (relevance.loss(exit_logits, targets) + taught)
            value = (1 - weight) * value + weight * early
        return value

    def _translation_loss(self, examples: Sequence[translation.Example], vocabulary: Tensor) -> Tensor:
        ids, last, following = (tensor.to(self.device) for tensor in translation.padded(examples))
        hidden = self._forward(ids, last, every=True)
        said = following >= 0
        rows = self.embedding[vocabulary]
        logits = (hidden[said].to(rows.dtype) @ rows.T).float()
        return functional.cross_entropy(logits, torch.searchsorted(vocabulary, following[said]))

    def _plan(
        self,
        stage: Stage,
        examples: Sequence[relevance.Example],
        translations: Sequence[translation.Example],
    ) -> list[Batch]:
        """Batches of all epochs in their order."""
        plan: list[Batch] = []
        asked = self._endless([len(example.ids) for example in translations], f"{stage.name}/translation")
        for epoch in range(stage.epochs):
            chance = random.Random(f"{self.recipe.seed}/{stage.name}/{epoch}")
            part = [
                Batch(rows, tokens, False)
                for rows, tokens in self._epoch([len(example.ids) for example in examples], chance)
            ]
            if stage.translation is not None and stage.translation.share < 1:
                share = stage.translation.share
                wanted = round(len(part) * share / (1 - share))
                part += [Batch(*next(asked), True) for _ in range(wanted)]
            elif stage.translation is not None:
                lengths = [len(example.ids) for example in translations]
                part = [Batch(rows, tokens, True) for rows, tokens in self._epoch(lengths, chance)]
            chance.shuffle(part)
            plan += part
        return plan

    def _endless(self, lengths: Sequence[int], name: str) -> Iterator[tuple[list[int], int]]:
        for epoch in itertools.count():
            yield from self._epoch(lengths, random.Random(f"{self.recipe.seed}/{name}/{epoch}"))

    def _epoch(self, lengths: Sequence[int], chance: random.Random) -> Iterator[tuple[list[int], int]]:
        """Every row once: shuffled, then rows of like length together within large blocks."""
        order = list(range(len(lengths)))
        chance.shuffle(order)
        parts = []
        for start in range(0, len(order), 2048):
            block = order[start : start + 2048]
            cut = batches([lengths[i] for i in block], self.recipe.batch_tokens)
            parts += [[block[i] for i in rows] for rows in cut]
        chance.shuffle(parts)
        for rows in parts:
            yield rows, sum(lengths[i] for i in rows)

    def _checkpoint(self, stage: Stage, step: int, optimiser: torch.optim.Optimizer, run: Path) -> None:
        """Write where the stage stands, wholly or not at all: the checkpoint before stays until then."""
        state = {
            "stage": stage.name,
            "step": step,
            "parameters": [p.detach().cpu() for p in self.parameters],
            "optimiser": optimiser.state_dict(),
        }
        write_state(state, _checkpoint_file(stage, run))

    def _resume(self, stage: Stage, optimiser: torch.optim.Optimizer, run: Path) -> int:
        """Take up a checkpoint of the stage, if there is one; says how many steps it has."""
        path = _checkpoint_file(stage, run)
        if not path.is_file():
            return 0
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
            with torch.no_grad():
                for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                    parameter.copy_(saved)
            optimiser.load_state_dict(state["optimiser"])
            return int(state["step"])
        except (RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            raise InputError(
                f"{path} is broken or of another training: take it away to train the stage anew. ({error})"
            ) from error

    def _give_up(
        self, stage: Stage, optimiser: torch.optim.Optimizer, run: Path, step: int, before: Path | None
    ) -> TrainingError:
        """What to say of a loss that is no number; the last good state is written as an adapter."""
        told = (
            f"The loss of stage {stage.name} is no longer a number at step {step}: lower its learning_rate. "
        )
        kept = self._resume(stage, optimiser, run)
        if not kept:
            told += "No step of the stage was kept."
            if before is not None:
                told += f" Another --run can go on from the stage before it with start: {before.resolve()}."
            return TrainingError(told)
        folder = self.save(run / "last-good")
        return TrainingError(
            f"{told}Step {kept} is kept: another --run can go on from it with start: {folder.resolve()}."
        )


def _checkpoint_file(stage: Stage, run: Path) -> Path:
    return run / f"checkpoint-{stage.name}.pt"


def _loading(hardware: HardwareSettings, device: torch.device) -> dict[str, Any]:
    """How transformers is to load the base."""
    options: dict[str, Any] = {"attn_implementation": hardware.attention}
    if hardware.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        raise InputError(
            "hardware.attention: flash_attention_2 needs the package flash-attn, which is not installed; "
            "flex_attention needs nothing."
        )
    if hardware.four_bit:
        if find_spec("bitsandbytes") is None:
            raise MissingExtraError("bitsandbytes", "four-bit")
        options["device_map"] = {"": device}
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return options


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then cosine down to a tenth."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return step / rise
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
