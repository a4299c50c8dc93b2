"""Engines on a GPU: on a real one where there is one, and everywhere on one that has tensors but no numbers.

Torch's fake tensors know their device and shape alone. They say at once where a step mixes what lies on the GPU with
what was left on the CPU, which is what a machine without a GPU cannot see otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM

from csrm.scoring.engine import Engine
from csrm.scoring.exit import ExitHead
from csrm.scoring.lean import LeanGemma3Engine
from csrm.scoring.library import LibraryEngine
from csrm.scoring.walk import label_logits

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [33, 44]]

Make = Callable[[Any, tuple[int, ...]], Engine[Any]]
LEAN = [partial(LeanGemma3Engine, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
CASES: list[tuple[str, Make]] = [
    *(("gemma3", made) for made in LEAN),
    *((kind, LibraryEngine) for kind in ("gemma3", "qwen3", "qwen2", "llama")),
]


def shown(case: object) -> str:
    return case if isinstance(case, str) else "lean" if isinstance(case, partial) else "library"


@pytest.mark.parametrize(("kind", "make"), CASES, ids=shown)
def test_nothing_stays_on_the_cpu(kind: str, make: Make, tiny_bases: dict[str, Path]) -> None:
    config = AutoConfig.from_pretrained(tiny_bases[kind])
    with FakeTensorMode(), torch.no_grad():
        with torch.device("cuda"):
            model = AutoModelForCausalLM.from_config(config).eval()
        engine = make(model, LABELS)
        state = engine._run_prefix(torch.tensor([PREFIX]))
        ids, last = torch.ones(3, 7, dtype=torch.long), torch.tensor([6, 2, 4])
        logits = engine._run_products(state, ids, last)
        assert logits.shape == (3, 4)
        assert logits.device.type == "cuda"
        if not isinstance(engine, LeanGemma3Engine):
            return
        hidden = config.hidden_size
        engine.add_exit(ExitHead(2, torch.ones(hidden, device="cuda"), torch.ones(4, hidden, device="cuda")))
        state = engine._run_prefix(torch.tensor([PREFIX]))
        early, residual = engine._run_first(state, ids, last, True)
        assert early.device.type == residual.device.type == "cuda"
        assert engine._run_rest(state, residual, last).device.type == "cuda"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("kind", "make"), CASES, ids=shown)
def test_a_gpu_says_what_the_cpu_says(kind: str, make: Make, tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases[kind], dtype=torch.float32).eval()
    expected = label_logits(LibraryEngine(model, LABELS), PREFIX, PRODUCTS)
    found = label_logits(make(model.to("cuda"), LABELS), PREFIX, PRODUCTS)
    loose = isinstance(make, partial) and make.keywords["dtype"] is torch.bfloat16
    assert found == pytest.approx(expected, abs=0.1 if loose else 1e-3)
