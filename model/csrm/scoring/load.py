"""From base weights and an adapter to a scoring engine, checked before it serves.

Knows how weights are loaded, merged and put into a precision; knows no prompt text and no calibration.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from csrm.errors import BaseModelError, BundleError
from csrm.prompt import PromptEncoder, PromptLimits, PromptTemplate
from csrm.scoring.base import prepare_base
from csrm.scoring.engine import Engine, softmax
from csrm.scoring.exit import read_exit
from csrm.scoring.lean import LeanGemma3Engine
from csrm.scoring.library import LibraryEngine
from csrm.scoring.pace import Pace
from csrm.scoring.walk import label_logits

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]
MAX_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference of an answer's probability between a lean pass and the library's fp32, by precision."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine with the encoder of its prompt. ``warning`` says why a lean pass was not taken, if so."""

    engine: Engine[Any]
    encoder: PromptEncoder
    precision: str
    warning: str | None = None


def load_engine(
    base: str | Path,
    adapter: Path | None,
    template: PromptTemplate,
    limits: PromptLimits,
    *,
    precision: Precision = "auto",
    device: str | None = None,
    early_exit: tuple[Path, int] | None = None,
) -> Loaded:
    """Load the weights and choose the fastest engine that agrees with the library.

    Args:
        base: as for ``prepare_base``.
        adapter: folder of the adapter, if any.
        template: the words of the prompt.
        limits: of the prompt's parts.
        precision: ``auto`` measures.
        device: the GPU where there is one, if null.
        early_exit: file of the exit's head and the number of layers before it; only a lean pass can have one.

    Raises:
        BaseModelError: the base weights cannot be had or read.
        BundleError: the adapter or the exit's head is for another base, or an answer is not one token of it.
    """
    folder = prepare_base(base)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, ImportError) as error:
        raise BaseModelError(f"The base {base} cannot be loaded: {error}") from error
    if tokenizer.vocab_size > (rows := model.get_input_embeddings().num_embeddings):
        raise BaseModelError(
            f"The tokenizer of {base} has {tokenizer.vocab_size} tokens and the model {rows}: it is another model's."
        )
    if adapter is not None:
        model = _merged(model, adapter, base)
    model = model.to(where).eval()
    encoder = PromptEncoder(tokenizer, template, limits)
    dtype = (
        fastest_dtype(where)
        if precision == "auto"
        else {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    )
    name = "bf16" if dtype is torch.bfloat16 else "fp32"

    warning = None
    if LeanGemma3Engine.supports(model.config):
        lean = LeanGemma3Engine(model, encoder.label_ids, dtype)
        difference = _difference(lean, LibraryEngine(model, encoder.label_ids), encoder)
        if difference <= MAX_DIFFERENCE[dtype]:
            if early_exit is not None:
                file, layer = early_exit
                hidden = lean.label_rows.shape[1]
                lean.add_exit(read_exit(file, layer, hidden=hidden, layers=lean.layers, device=where))
            lean.pace = Pace()  # the first batches told of cold memory, not of this machine
            return Loaded(lean, encoder, name)
        warning = f"the lean pass differs by {difference:.3g} from the library: the library path is used"
        log.warning(warning)
    return Loaded(LibraryEngine(model.to(dtype), encoder.label_ids), encoder, name, warning)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bf16 or fp32, whichever multiplies faster here, measured on the shape of a batch (about 20 ms)."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.randn(1024, 640, device=device).to(dtype)
        b = torch.randn(640, 2048, device=device).to(dtype)
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            (a @ b)[0, 0].item()
            best = min(best, time.perf_counter() - started)
        return best

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


def _merged(model: Any, adapter: Path, base: str | Path) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # between peft and transformers, no word to our user
            return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise BundleError(f"The adapter {adapter} does not fit the base {base}: {error}") from error


def _difference(lean: Engine[Any], library: Engine[Any], encoder: PromptEncoder) -> float:
    """Largest difference of an answer's probability on a few rows of several lengths and scripts."""
    prefix = encoder.prefix("phone case 手機殼", locale="en", knowledge=["에어팟 = AirPods"])
    products = encoder.products(["case", "Funda de silicona para móvil, negra, 6,1 pulgadas", "ケース " * 12])
    return float(
        np.abs(
            softmax(label_logits(lean, prefix, products)) - softmax(label_logits(library, prefix, products))
        ).max()
    )
