"""The integer layers against the same layers in fp32, and where they cannot run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from transformers import AutoModelForCausalLM

from csrm.benchmark.workload import searches
from csrm.model import RelevanceModel
from csrm.scoring import gemma3, integers
from csrm.scoring.engine import NotFiniteError, softmax
from csrm.scoring.lean import IntegerGemma3Engine, LeanGemma3Engine
from csrm.scoring.walk import label_logits

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [60, 70, 80], [33, 44]]

CPU = torch.device("cpu")

needs_vnni = pytest.mark.skipif(integers.lacking(CPU) is not None, reason="needs a CPU with AVX-512 VNNI")


def weights(base: Path) -> gemma3.Gemma3Weights:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    return gemma3.weights_of(model, torch.float32)


def test_rounding_keeps_every_number_within_half_a_step() -> None:
    x = torch.randn(50, 64) * torch.logspace(-6, 6, 50)[:, None]
    whole, scale = integers.rounded(x)
    assert whole.dtype is torch.uint8
    assert ((whole.float() - integers.ZERO) * scale - x).abs().le(scale * 0.501).all()


def test_a_row_of_zeros_stays_one() -> None:
    whole, scale = integers.rounded(torch.zeros(2, 8))
    assert (whole == integers.ZERO).all()
    assert torch.isfinite(scale).all()


@needs_vnni
def test_a_projection_is_that_of_its_rounded_weights() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(48, 32), torch.randn(20, 32) * 5
    whole, scale = integers.rounded(x)
    found = integers.Projection.of(weight)(whole) * scale
    wanted = x @ weight.T
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@needs_vnni
def test_a_layer_does_what_it_does_in_fp32(tiny_bases: dict[str, Path]) -> None:
    torch.manual_seed(0)
    model = weights(tiny_bases["gemma3"])
    layer = replace(  # at their true size: those of a random model are so small that epsilon rules
        model.layers[0],
        **{
            name: torch.randn_like(getattr(model.layers[0], name))
            for name in ("qkv", "out", "gate_up", "down")
        },
    )
    shape = (model.heads, model.kv_heads, model.head_dim, model.epsilon)
    cos, sin = gemma3.rotation(torch.arange(6), model.theta_local, model.head_dim)
    residual = torch.randn(4, 6, 32) * 3
    whole = integers.IntegerLayer.of(layer)
    for one, other in zip(
        integers.before_attention(whole, residual, cos, sin, shape),
        gemma3.before_attention(layer, residual, cos, sin, shape),
        strict=True,
    ):
        assert (one - other).norm() < 0.03 * other.norm()
    attended = torch.randn(4, model.heads, 6, model.head_dim)
    found = integers.after_attention(whole, residual, attended.bfloat16(), model.epsilon) - residual
    wanted = gemma3.after_attention(layer, residual, attended, model.epsilon) - residual
    assert (found - wanted).norm() < 0.04 * wanted.norm()


def test_a_channel_that_the_norm_damps_does_not_drown_the_others() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 64), torch.ones(64)
    x[:, 5], weight[5] = 5_000.0, 1e-4
    whole, scale = integers.rounded_norm(x, weight, 1e-6)
    wanted = gemma3.rms_norm(x, weight, 1e-6)
    assert ((whole.float() - integers.ZERO) * scale - wanted).norm() < 0.02 * wanted.norm()


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
def test_the_shipped_bundle_orders_as_in_fp32() -> None:
    exact, whole = RelevanceModel.load(precision="fp32"), RelevanceModel.load(precision="int8")
    assert (whole.precision, whole.warning) == ("int8", None)
    search = next(iter(searches(48)))
    scores = [
        model.grade(search.query, search.products, locale=search.locale)[:, :2].sum(axis=1)
        for model in (exact, whole)
    ]
    assert kendalltau(*scores).statistic >= 0.93
