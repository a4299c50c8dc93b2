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

needs_integers = pytest.mark.skipif(integers.lacking(CPU) is not None, reason=str(integers.lacking(CPU)))


def rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as the kernels round them, in torch's own words: integers around 128, and each row's scale."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
    return (x / scale + 128.5).to(torch.uint8), scale


@needs_integers
def test_a_projection_is_that_of_its_rounded_weights() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(48, 32), torch.randn(20, 32) * 5
    whole, scale = rounded(x)
    found = integers.Projection.of(weight)(whole) * scale
    wanted = x @ weight.T
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@needs_integers
@pytest.mark.parametrize("columns", [33, 64])
def test_no_product_is_cut_off(columns: int) -> None:
    """The largest weights there are, of one sign, times the largest numbers there are."""
    torch.manual_seed(0)
    weight = torch.ones(16, columns) - 0.01 * torch.rand(16, columns)
    weight[8:] *= -1
    found = integers.Projection.of(weight)(torch.full((64, columns), 255, dtype=torch.uint8)) * (1 / 127)
    wanted = weight.sum(-1).expand_as(found)
    assert (found - wanted).norm() < 0.02 * wanted.norm()


def test_neighbouring_weights_fit_16_bits_together() -> None:
    torch.manual_seed(0)
    weight = torch.randn(200, 31) * torch.logspace(-6, 6, 200)[:, None]
    weight[0] = 0

    def pairs(whole: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(whole.int(), (0, 1)).view(200, -1, 2).sum(-1).abs()

    loose, tight = integers.rounded(weight, pairs=False), integers.rounded(weight, pairs=True)
    for (whole, scales), most in ((loose, 254), (tight, 128)):
        assert 100 < pairs(whole).max() <= most
        assert ((whole * scales[:, None] - weight).abs() <= 0.5001 * scales[:, None]).all()
    assert pairs(loose[0]).max() > 128
    assert 1 < (tight[1] / loose[1])[1:].mean() < 1.5, "halving all would be 2"


@needs_integers
def test_the_engine_gives_nearly_the_probabilities_of_fp32(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    exact = label_logits(LeanGemma3Engine(model, LABELS, torch.float32), PREFIX, PRODUCTS)
    found = label_logits(IntegerGemma3Engine(model, LABELS), PREFIX, PRODUCTS)
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
    assert np.abs(softmax(found) - softmax(exact)).max() < 0.02


@needs_integers
def test_broken_weights_give_no_number(tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 3] = float("nan")
    with pytest.raises(NotFiniteError):
        label_logits(IntegerGemma3Engine(model, LABELS), PREFIX, PRODUCTS)


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GPU" in str(integers.lacking(torch.device("cuda")))
    with monkeypatch.context() as without:
        without.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert "oneDNN" in str(integers.lacking(CPU))
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    assert "AVX2" in str(integers.lacking(CPU))


@needs_integers
def test_integers_need_what_the_kernels_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)  # as where it is not installed
    assert "numba" in str(integers.lacking(CPU))


@needs_integers
def test_the_shipped_bundle_orders_as_in_fp32() -> None:
    exact, whole = RelevanceModel.load(precision="fp32"), RelevanceModel.load(precision="int8")
    assert (whole.precision, whole.warning) == ("int8", None)
    search = next(iter(searches(48)))
    scores = [
        model.grade(search.query, search.products, locale=search.locale)[:, :2].sum(axis=1)
        for model in (exact, whole)
    ]
    assert kendalltau(*scores).statistic >= 0.93
