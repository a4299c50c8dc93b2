"""The fused layers against torch's, and the engine with them against the library's: nothing but rounding differs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from csrm.scoring import gemma3, integers
from csrm.scoring.cpu import lacking_kernels
from csrm.scoring.engine import NotFiniteError
from csrm.scoring.exit import ExitHead
from csrm.scoring.lean import IntegerGemma3Engine, LeanGemma3Engine, own_attention, prefix_attention
from csrm.scoring.shares import SHARE_TOKENS
from csrm.scoring.walk import label_logits, through, walk
from tests.unit.csrm.conftest import another_model_loading

CPU = torch.device("cpu")
if LACKING := lacking_kernels(CPU):
    pytest.skip(LACKING, allow_module_level=True)

from csrm.scoring.fused import FusedLayers, Product, plain  # noqa: E402

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [60, 70, 80], [33, 44]]

FORMATS = [
    pytest.param((torch.float32, torch.float32, 1e-5), id="fp32"),
    pytest.param((torch.bfloat16, torch.bfloat16, 0.03), id="bf16"),
    pytest.param((torch.uint8, torch.float32, 0.08), id="int8-fp32"),
    pytest.param((torch.uint8, torch.bfloat16, 0.08), id="int8-bf16"),
]
"""What products take and give, and how much of a result rounding may lose."""


@pytest.fixture
def exact(tiny_bases: dict[str, Path]) -> gemma3.Gemma3Weights:
    """In fp32, at their true size: those of a random model are so small that epsilon rules."""
    torch.manual_seed(0)
    weights = gemma3.weights_of(
        AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32), torch.float32
    )
    names = ("qkv", "out", "gate_up", "down")
    layers = [
        replace(layer, **{name: torch.randn_like(getattr(layer, name)) / 6 for name in names})
        for layer in weights.layers
    ]
    return replace(weights, layers=layers)


def fused_layers(exact: gemma3.Gemma3Weights, dtype: torch.dtype, carried: torch.dtype) -> FusedLayers:
    def product(weight: torch.Tensor) -> Product:
        if dtype is not torch.uint8:
            return plain(weight.to(dtype))
        return replace(integers.Projection.of(weight), gives=carried)

    return FusedLayers.of(exact, product, dtype, carried)


@pytest.mark.parametrize("given", FORMATS)
def test_layers_compile_nothing_while_another_model_is_loaded(
    given: tuple[torch.dtype, torch.dtype, float], exact: gemma3.Gemma3Weights
) -> None:
    layers = fused_layers(exact, *given[:2])
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    every, last = range(len(exact.layers)), torch.tensor([3, 5])
    with another_model_loading(), torch.inference_mode():
        layers.run(torch.randn(1, 7, 32), every, keep=kept)
        layers.run(torch.randn(2, 6, 32), every, start=7, prefix=kept, last=last)


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("p", [1, 17])
@pytest.mark.parametrize(("n", "t"), [(1, 1), (1, 9), (5, 1), (4, 6)])
def test_layers_do_what_they_do_in_fp32(
    n: int, t: int, p: int, given: tuple[torch.dtype, torch.dtype, float], exact: gemma3.Gemma3Weights
) -> None:
    dtype, carried, tolerance = given
    layers = fused_layers(exact, dtype, carried)
    before, residual = torch.randn(1, p, 32) * 3, torch.randn(n, t, 32) * 3
    untouched = residual.clone()
    last = torch.arange(n) % t
    every = range(len(exact.layers))
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    wanted_kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attend_first(
        _: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        wanted_kept.append((k[0, 0], v[0, 0]))
        return own_attention(q, k, v, exact.scale, mask)

    def attend(i: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return prefix_attention(q, k, v, exact.scale, mask, *wanted_kept[i])

    with torch.inference_mode():
        pairs = [
            (
                layers.run(before, every, keep=kept),
                gemma3.run_layers(exact, before, every, attend=attend_first),
            ),
            (
                layers.run(residual, every, start=p, prefix=kept),
                gemma3.run_layers(exact, residual, every, start=p, attend=attend),
            ),
            (
                layers.run(residual, every, start=p, prefix=kept, last=last),
                gemma3.run_layers(exact, residual, every, start=p, attend=attend, last=last),
            ),
        ]
    for (found, wanted), given_residual in zip(pairs, (before, residual, residual), strict=True):
        assert found.shape == wanted.shape
        scale = (
            (wanted - given_residual[:, :1]).norm()
            if found.shape != given_residual.shape
            else (wanted - given_residual).norm()
        )
        assert (found - wanted).norm() < tolerance * scale
    assert len(kept) == len(wanted_kept)
    for found_kv, wanted_kv in zip(kept, wanted_kept, strict=True):
        for one, other in zip(found_kv, wanted_kv, strict=True):
            assert (one - other).norm() < tolerance * other.norm()
    assert torch.equal(residual, untouched)


def test_rows_that_do_not_fit_the_window_are_refused(exact: gemma3.Gemma3Weights) -> None:
    layers = fused_layers(exact, torch.bfloat16, torch.bfloat16)
    with pytest.raises(ValueError, match=r"\d+ tokens do not fit the sliding window"):
        layers.run(torch.zeros(1, 2, 32), range(1), start=exact.window - 2)


def engines(base: Path) -> list[LeanGemma3Engine]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    found = [LeanGemma3Engine(model, LABELS, dtype) for dtype in (torch.float32, torch.bfloat16)]
    return [*found, IntegerGemma3Engine(model, LABELS)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_engine_gives_nearly_the_logits_of_torchs_layers(
    dtype: torch.dtype, tolerance: float, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    fast = label_logits(LeanGemma3Engine(model, LABELS, dtype), PREFIX, PRODUCTS)
    monkeypatch.setitem(sys.modules, "numba", None)
    slow = label_logits(LeanGemma3Engine(model, LABELS, dtype), PREFIX, PRODUCTS)
    exact = label_logits(LeanGemma3Engine(model, LABELS, torch.float32), PREFIX, PRODUCTS)
    assert 0 < np.abs(fast - slow).max() < tolerance * np.abs(slow).max()
    assert np.abs(fast - exact).max() < tolerance * np.abs(exact).max()


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_a_row_is_the_same_however_the_rows_are_shared(threads: int, tiny_bases: dict[str, Path]) -> None:
    products = [[10 + i, 20, 30 + i] * 5 for i in range(threads * SHARE_TOKENS // 15 + threads)]
    before = torch.get_num_threads()
    try:
        for engine in engines(tiny_bases["gemma3"]):
            torch.set_num_threads(1)
            alone = label_logits(engine, PREFIX, products)
            torch.set_num_threads(threads)
            shared = label_logits(engine, PREFIX, products)
            assert shared == pytest.approx(alone, abs=2e-3 * float(np.abs(alone).max()))
            assert shared[-1:] == pytest.approx(
                label_logits(engine, PREFIX, products[-1:]), abs=2e-3 * float(np.abs(alone).max())
            )
    finally:
        torch.set_num_threads(before)


def test_two_passes_give_what_one_gives(tiny_bases: dict[str, Path]) -> None:
    rows = list(range(len(PRODUCTS)))
    for engine in engines(tiny_bases["gemma3"]):
        whole = label_logits(engine, PREFIX, PRODUCTS)
        torch.manual_seed(1)
        engine.add_exit(ExitHead(1, torch.ones(32), torch.randn(4, 32)))
        found = through(walk(engine, [*PREFIX, 7], PRODUCTS, early=rows, go_on=lambda early: rows))
        assert np.isfinite(found.early).all()
        again = through(walk(engine, PREFIX, PRODUCTS, early=rows, go_on=lambda early: rows))
        assert again.full == pytest.approx(whole, abs=2e-3 * float(np.abs(whole).max()))
        assert not np.array_equal(found.full, again.full), "another prefix"


@pytest.mark.parametrize(
    "where", ["mlp.down_proj", "self_attn.k_proj", "self_attn.q_norm", "pre_feedforward_layernorm"]
)
def test_broken_weights_give_no_number(where: str, tiny_bases: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    with torch.no_grad():
        model.model.layers[1].get_submodule(where).weight.view(-1)[3] = float("nan")
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(NotFiniteError):
            label_logits(LeanGemma3Engine(model, LABELS, dtype), PREFIX, PRODUCTS)
    with pytest.raises(NotFiniteError):
        label_logits(IntegerGemma3Engine(model, LABELS), PREFIX, PRODUCTS)
