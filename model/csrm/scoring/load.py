"""From base weights and an adapter to a scoring engine, checked before it serves.

Knows how weights are loaded, merged and put into a precision; knows no prompt text and no calibration.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from csrm.encoder.cross_encoder import CrossEncoder
from csrm.errors import BaseModelError, BundleError
from csrm.prompt import PromptEncoder, PromptLimits, PromptTemplate
from csrm.scoring import gemma3, integers
from csrm.scoring.adapter import merge
from csrm.scoring.base import base_digest, local, mapped, prepare_base
from csrm.scoring.checkpoint import Checkpoint, read_checkpoint
from csrm.scoring.cpu import lacking_bf16
from csrm.scoring.engine import Engine, Logits, NotFiniteError, softmax
from csrm.scoring.exit import read_exit
from csrm.scoring.lean import IntegerGemma3Engine, LeanGemma3Engine
from csrm.scoring.library import LibraryEngine
from csrm.scoring.pace import Pace
from csrm.scoring.remembered import keep, key_of, recall
from csrm.scoring.tokens import load_tokenizer
from csrm.scoring.walk import label_logits
from csrm.wire import Precision

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EMBEDDING = "model.embed_tokens.weight"
"""Name of the tokens' rows in a file of weights that a lean pass can run."""

MAX_DIFFERENCE = {"fp32": 1e-4, "bf16": 2e-2, "int8": 0.15}
"""Largest difference of an answer's probability between an engine and the library's in fp32, by precision.

That of int8 finds mistakes, not rounding: on the rows of the check csrm-gemma3-270m@4 differs by 0.05 to 0.09, and it
keeps its ROC-AUC and a Kendall's tau of 0.93 with fp32 (LAB_NOTEBOOK, 28, 30 and 35).
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine with the encoder of its prompt.

    Attributes:
        base: the base weights, as they were asked for.
        base_digest: of what they hold (``csrm.scoring.base.base_digest``).
        warning: says why a faster engine was not taken, if so.
    """

    engine: Engine[Any]
    encoder: PromptEncoder
    precision: str
    base: str
    base_digest: str
    warning: str | None = None


def load_engine(
    base: str | Path,
    adapter: Path | None,
    template: PromptTemplate,
    limits: PromptLimits,
    *,
    precision: Precision = "auto",
    int8: bool = False,
    device: str | None = None,
    early_exit: tuple[Path, int] | None = None,
    cross_encoder: tuple[Path, bool] | None = None,
    anew: bool = False,
) -> Loaded:
    """Load the weights and choose the fastest engine that agrees with the library in fp32.

    What the library's model says is remembered from an earlier start of a lean pass (``remembered``); the model itself
    is then not loaded. A lean pass comes before the library's, and what is asked for before fp32. What differs too
    much, a lean pass whose window is too short for the bundle's limits, and int8 or bf16 where it is asked for and
    cannot run, is left, with a warning.

    Args:
        base: as for ``prepare_base``.
        adapter: folder of the adapter, if any.
        template: the words of the prompt.
        limits: of the prompt's parts.
        precision: ``auto`` takes what is measured to be the fastest; it also stands in for ``int8`` that cannot be
            taken.
        int8: ``auto`` may take it: the bundle's thresholds were fitted on its grades.
        device: the GPU where there is one, if null.
        early_exit: file of the exit's head and the number of layers before it, which only a lean pass can have.
        cross_encoder: file of the cross-encoder beside the model, and whether it judges early.
        anew: ask the library's model whatever is remembered, as is done where an engine differs from that.

    Raises:
        BaseModelError: the base weights cannot be had or read.
        BundleError: the adapter or the exit's head is for another base, or an answer is not one token of it.
        NotFiniteError: the weights are broken.
    """
    folder = prepare_base(base)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    began = time.perf_counter()
    config = _config(folder, base)
    tokenizer = load_tokenizer(folder, base, config.get_text_config().vocab_size)
    encoder = PromptEncoder(tokenizer, template, limits)
    tokenizer_s = time.perf_counter() - began
    light = None if anew else _remembered(folder, config, adapter, encoder)
    model: Any
    model, expected, digest = light or (_read(folder, base, adapter), None, None)
    digest = digest or base_digest(folder)  # before it was read, a hub's base may not have been here
    model.to(where)
    weights_s = time.perf_counter() - began - tokenizer_s
    left: list[str] = []

    def loaded(engine: Engine[Any], precision: str) -> Loaded:
        checks_s = time.perf_counter() - began - weights_s - tokenizer_s
        log.info(
            "Weights %.1f s, tokenizer %.1f s, engine and its check %.1f s.", weights_s, tokenizer_s, checks_s
        )
        if cross_encoder is not None:
            file, first = cross_encoder
            engine.add_encoder(CrossEncoder.load(file, precision, where), first=first)
        warning = f"{'; '.join(left)}: {engine.name} in {precision} is used" if left else None
        if warning:
            log.warning(warning)
        return Loaded(engine, encoder, precision, str(base), digest, warning)

    lean = LeanGemma3Engine.supports(config)
    if lean and encoder.longest >= config.sliding_window:
        lean = False
        left.append(
            f"the bundle's limits let a prompt have {encoder.longest} tokens, and the lean pass takes less than "
            f"{config.sliding_window}"
        )
    if precision == "auto":
        wanted = fastest(where, choices(where, int8=int8 and lean))
    elif reason := lacking(precision, where) or (
        "only the lean pass knows int8" if precision == "int8" and not lean else None
    ):
        left.append(reason)
        wanted = fastest(where, choices(where, int8=False))
    else:
        wanted = precision
    if expected is None and (lean or wanted == "bf16"):
        expected = _probabilities(LibraryEngine(model, encoder.label_ids), encoder)
    stored = None
    if lean and where.type == "cpu":
        table: Tensor = model.get_input_embeddings().weight.detach()
        stored = table if light else mapped(folder, EMBEDDING, table)
    next_best = [fastest(where, choices(where, int8=False))] if wanted == "int8" else []
    for name in dict.fromkeys((wanted, *next_best, "fp32")) if lean else ():
        engine = (
            IntegerGemma3Engine(model, encoder.label_ids)
            if name == "int8"
            else LeanGemma3Engine(model, encoder.label_ids, DTYPES[name])
        )
        if stored is not None:
            engine.look_up_in(stored)
        difference = _difference(engine, encoder, expected)
        if difference <= MAX_DIFFERENCE[name]:
            if early_exit is not None:
                file, layer = early_exit
                hidden = engine.label_rows.shape[1]
                engine.add_exit(read_exit(file, layer, hidden=hidden, layers=engine.layers, device=where))
            engine.pace = Pace()  # the first batches told of cold memory, not of this machine
            if not light and expected is not None:
                keep(_key(digest, adapter, encoder), expected)
            return loaded(engine, name)
        if light:
            log.info("The lean pass in %s differs by %.3g from what is remembered", name, difference)
            return load_engine(
                base,
                adapter,
                template,
                limits,
                precision=precision,
                int8=int8,
                device=device,
                early_exit=early_exit,
                cross_encoder=cross_encoder,
                anew=True,
            )
        left.append(f"the lean pass in {name} differs by {difference:.3g} from the library's in fp32")
    if "bf16" in (wanted, *next_best):
        library = LibraryEngine(_in_bf16(model), encoder.label_ids)
        difference = _difference(library, encoder, expected)
        if difference <= MAX_DIFFERENCE["bf16"]:
            library.pace = Pace()
            return loaded(library, "bf16")
        left.append(f"the library's pass in bf16 differs by {difference:.3g} from that in fp32")
        model = _read(folder, base, adapter).to(where)  # there is room for one at a time only
    return loaded(LibraryEngine(model, encoder.label_ids), "fp32")


def choices(device: torch.device, *, int8: bool) -> list[str]:
    """The precisions that ``auto`` chooses among on a device; ``int8``: whether the bundle allows it."""
    return [name for name in ("fp32", "bf16", *(["int8"] if int8 else [])) if lacking(name, device) is None]


def lacking(precision: str, device: torch.device) -> str | None:
    """Why nothing is served in a precision on a device; null where it is worth measuring."""
    if precision == "int8":
        return integers.lacking(device)
    return lacking_bf16(device) if precision == "bf16" else None


def fastest(device: torch.device, precisions: Sequence[str]) -> str:
    """Which of these precisions multiplies fastest here, measured on the shape of a batch (some 100 ms)."""
    x, weight = torch.randn(1024, 640, device=device), torch.randn(2048, 640, device=device)
    products: dict[str, Callable[[], Tensor]] = {}
    for name in precisions:
        if name == "int8":
            products[name] = partial(integers.Projection.of(weight), (x * 32 + 128).clamp(0, 255).byte())
        else:
            products[name] = partial(F.linear, x.to(DTYPES[name]), weight.to(DTYPES[name]))
    best = dict.fromkeys(products, float("inf"))
    for _ in range(8):  # in turns, so that what else the machine does hits all alike
        for name, product in products.items():
            started = time.perf_counter()
            product()[0, 0].item()
            best[name] = min(best[name], time.perf_counter() - started)
    return min(best, key=best.__getitem__)


def _config(folder: str, base: str | Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise _unloadable(base, error) from error


def _remembered(
    folder: str, config: Any, adapter: Path | None, encoder: PromptEncoder
) -> tuple[Checkpoint, Logits, str] | None:
    """The weights without the library's model, adapter merged, what that said of them, and the base's digest.

    Null where it is to be asked, and where the names in the files are such as only the library translates.
    """
    if not LeanGemma3Engine.supports(config) or encoder.longest >= config.sliding_window:
        return None
    try:
        digest = base_digest(folder)
        expected = recall(_key(digest, adapter, encoder), (len(_check(encoder)[1]), len(encoder.label_ids)))
        found = None if expected is None else read_checkpoint(local(folder), config)
        if found is None or expected is None:
            return None
        if adapter is not None:
            merge(found, adapter, folder)
        gemma3.weights_of(found, torch.float32, lambda module: module.weight[:0])  # they are all there
        found.get_output_embeddings()
    except (OSError, ValueError, AttributeError, BundleError):
        return None  # the library says what is wrong
    return found.eval(), expected, digest


def _key(digest: str, adapter: Path | None, encoder: PromptEncoder) -> str:
    prefix, products = _check(encoder)
    return key_of(digest, adapter, [prefix, *products], encoder.label_ids)


def _read(folder: str, base: str | Path, adapter: Path | None) -> Any:
    """The transformers model in fp32, adapter merged."""
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, ImportError) as error:
        raise _unloadable(base, error) from error
    if adapter is not None:
        merge(model, adapter, base)
    # Without gradients: what is made of the weights would else keep all of them for its own.
    return model.eval().requires_grad_(False)


def _unloadable(base: str | Path, error: Exception) -> BaseModelError:
    return BaseModelError(f"The base {base} cannot be loaded: {error}")


def _in_bf16(model: Any) -> Any:
    """The same model with its weights in bf16. Its buffers, such as the frequencies of the positions, stay exact."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.data = weight.data.to(torch.bfloat16)
    return model


def _difference(engine: Engine[Any], encoder: PromptEncoder, expected: Logits | None) -> float:
    """Largest difference of an answer's probability from what is expected; infinite where there is no number."""
    assert expected is not None, "nothing to compare with"
    try:
        return float(np.abs(_probabilities(engine, encoder) - expected).max())
    except NotFiniteError:
        return float("inf")


def _probabilities(engine: Engine[Any], encoder: PromptEncoder) -> Logits:
    """Of the answers (n, answers), on the rows of the check: a few of several lengths and scripts."""
    return softmax(label_logits(engine, *_check(encoder)))


def _check(encoder: PromptEncoder) -> tuple[list[int], list[list[int]]]:
    """Prefix and products that engines are compared on."""
    prefix = encoder.prefix("phone case 手機殼", locale="en", knowledge=["에어팟 = AirPods"])
    products = encoder.products(["case", "Funda de silicona para móvil, negra, 6,1 pulgadas", "ケース " * 12])
    return prefix, products
