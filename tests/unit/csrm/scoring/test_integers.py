"""The integer layers against the same layers in fp32, and where they cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from transformers import AutoModelForCausalLM

from csrm.benchmark.workload import searches
from csrm.model import RelevanceModel
from csrm.scoring import integers
from csrm.scoring.engine import NotFiniteError, softmax
from csrm.scoring.lean import IntegerGemma3Engine, LeanGemma3Engine
from csrm.scoring.walk import label_logits

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [60, 70, 80], [33, 44]]

CPU = torch.device("cpu")

needs_vnni = pytest.mark.skipif(integers.lacking(CPU) is not None, reason="needs a CPU with AVX-512 VNNI")


def rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as the kernels round them, in torch's own words: integers around 128, and each row's scale."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
    return (x / scale + 128.5).to(torch.uint8), scale


@needs_vnni
def test_a_projection_is_that_of_its_rounded_weights() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(48, 32), torch.randn(20, 32) * 5
    whole, scale = rounded(x)
    found = integers.Projection.of(weight)(whole) * scale
    wanted = x @ weight.T
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@needs_vnni
def test_the_engine_gives_nearly_the_probabilities_of_fp32(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    exact = label_logits(LeanGemma3Engine(model, LABELS, torch.float32), PREFIX, PRODUCTS)
    found = label_logits(IntegerGemma3Engine(model, LABELS), PREFIX, PRODUCTS)
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
    assert np.abs(softmax(found) - softmax(exact)).max() < 0.02


@needs_vnni
def test_broken_weights_give_no_number(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 3] = float("nan")
    with pytest.raises(NotFiniteError):
        label_logits(IntegerGemma3Engine(model, LABELS), PREFIX, PRODUCTS)


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GPU" in str(integers.lacking(torch.device("cuda")))
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "oneDNN" in str(integers.lacking(CPU))
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert "VNNI" in str(integers.lacking(CPU))


@needs_vnni
def test_integers_need_what_the_kernels_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)  # as where it is not installed
    assert "numba" in str(integers.lacking(CPU))


@needs_vnni
def test_the_shipped_bundle_orders_as_in_fp32() -> None:
    exact, whole = RelevanceModel.load(precision="fp32"), RelevanceModel.load(precision="int8")
    assert (whole.precision, whole.warning) == ("int8", None)
    search = next(iter(searches(48)))
    scores = [
        model.grade(search.query, search.products, locale=search.locale)[:, :2].sum(axis=1)
        for model in (exact, whole)
    ]
    assert kendalltau(*scores).statistic >= 0.93
