"""Which engine a bundle gets: the fastest that agrees with the library in fp32 and takes all that the limits allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring import integers, lean, load
from csrm.scoring.base import base_digest
from csrm.scoring.cpu import lacking_kernels
from csrm.scoring.load import Loaded, load_engine
from csrm.scoring.walk import label_logits

PRODUCTS = ["red case", "blue kettle " * 9]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model in bf16 is worth waiting for on any CPU."""
    monkeypatch.setattr(load, "lacking_bf16", lambda device: None)


def loaded(
    base: Path, precision: str, limits: PromptLimits | None = None, *, may_be_int8: bool = False
) -> Loaded:
    limits = limits or PromptLimits()
    return load_engine(base, None, PromptTemplate(), limits, precision=precision, int8=may_be_int8)  # type: ignore[arg-type]


def logits(found: Loaded, products: list[str]) -> np.ndarray:
    prefix = found.encoder.prefix("case", locale="en", knowledge=["a = b"])
    return label_logits(found.engine, prefix, found.encoder.products(products))


def plain(base: Path, found: Loaded, products: list[str]) -> np.ndarray:
    """Logits of one whole row at a time, by the library's model in fp32."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    prefix = found.encoder.prefix("case", locale="en", knowledge=["a = b"])
    with torch.inference_mode():
        rows = [model(torch.tensor([prefix + ids])).logits[0, -1] for ids in found.encoder.products(products)]
    return torch.stack(rows)[:, list(found.encoder.label_ids)].numpy()


int8 = pytest.param(
    "int8",
    marks=pytest.mark.skipif(integers.lacking(CPU) is not None, reason=str(integers.lacking(CPU))),
)


@pytest.mark.parametrize("precision", ["fp32", "bf16", int8])
def test_a_lean_pass_that_agrees_is_taken(precision: str, tiny_bases: dict[str, Path]) -> None:
    found = loaded(tiny_bases["gemma3"], precision)
    assert (found.engine.name, found.precision, found.warning) == ("lean-gemma3", precision, None)


def wrong(monkeypatch: pytest.MonkeyPatch, dtypes: set[torch.dtype]) -> None:
    """The lean pass looks at the wrong things, in these precisions."""

    def but_wrong(right: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda q, *rest: right(q.flip(-1).contiguous() if q.dtype in dtypes else q, *rest)

    monkeypatch.setattr(lean, "prefix_attention", but_wrong(lean.prefix_attention))
    if lacking_kernels(CPU) is None:
        from csrm.scoring import fused

        monkeypatch.setattr(fused, "attention", but_wrong(fused.attention))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_lean_pass_that_differs_is_left(
    precision: str,
    tiny_bases: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(load.MAX_DIFFERENCE, "bf16", 1e-3)  # the tiny model's answers hardly differ
    wrong(monkeypatch, {torch.float32, torch.bfloat16})
    found = loaded(tiny_bases["gemma3"], precision)
    assert found.engine.name == "transformers"
    assert found.warning and f"the lean pass in {precision} differs by" in found.warning
    assert "the lean pass in fp32 differs by" in found.warning
    assert f"transformers in {found.precision} is used" in found.warning
    assert found.warning in caplog.messages
    tolerance = 1e-4 if found.precision == "fp32" else 5e-2
    assert logits(found, PRODUCTS) == pytest.approx(
        plain(tiny_bases["gemma3"], found, PRODUCTS), abs=tolerance
    )


def test_a_lean_pass_that_differs_in_bf16_only_is_taken_in_fp32(
    tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(load.MAX_DIFFERENCE, "bf16", 1e-3)
    wrong(monkeypatch, {torch.bfloat16})
    found = loaded(tiny_bases["gemma3"], "bf16")
    assert (found.engine.name, found.precision) == ("lean-gemma3", "fp32")
    assert found.warning and "lean-gemma3 in fp32 is used" in found.warning


@pytest.mark.parametrize("precision", [int8])
def test_integers_that_differ_are_left_for_what_auto_takes(
    precision: str, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of weights that have lost their signs."""
    right = integers.Projection.of
    monkeypatch.setattr(integers.Projection, "of", lambda weight: right(weight.abs()))
    monkeypatch.setitem(load.MAX_DIFFERENCE, "int8", 1e-4)  # the tiny model's answers hardly differ
    found = loaded(tiny_bases["gemma3"], precision)
    assert found.engine.name == "lean-gemma3"
    assert found.precision == loaded(tiny_bases["gemma3"], "auto").precision
    assert found.warning and "the lean pass in int8 differs by" in found.warning


def test_auto_takes_int8_only_for_a_bundle_that_was_calibrated_in_it(
    tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def last(device: torch.device, precisions: Sequence[str]) -> str:
        asked.append(precisions)
        return precisions[-1]

    monkeypatch.setattr(load, "fastest", last)
    assert loaded(tiny_bases["gemma3"], "auto").precision == "bf16"
    assert all("int8" not in precisions for precisions in asked)
    best = "bf16" if integers.lacking(CPU) else "int8"
    for base, taken in (("gemma3", best), ("llama", "bf16")):
        found = loaded(tiny_bases[base], "auto", may_be_int8=True)
        assert (found.precision, found.warning) == (taken, None)


@pytest.mark.parametrize(("product_s", "taken"), [(0.0, True), (0.5, False)])
def test_the_fastest_precision_is_the_one_that_took_least(
    product_s: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(x: torch.Tensor) -> torch.Tensor:
        time.sleep(product_s)
        return torch.zeros(1, 1)

    monkeypatch.setattr(integers.Projection, "of", lambda weight: product)
    assert (load.fastest(CPU, ["fp32", "int8"]) == "int8") is taken


@pytest.mark.parametrize(
    ("kind", "avx2", "engine", "said"),
    [
        ("gemma3", False, "lean-gemma3", "this CPU has no AVX2"),
        ("llama", True, "transformers", "only the lean pass knows int8"),
    ],
)
def test_int8_that_cannot_run_is_what_auto_takes_with_a_warning(
    kind: str,
    avx2: bool,
    engine: str,
    said: str,
    tiny_bases: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not avx2:
        monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    elif lacking := integers.lacking(CPU):
        pytest.skip(lacking)
    monkeypatch.setattr(load, "fastest", lambda device, precisions: precisions[-1])
    found = loaded(tiny_bases[kind], "int8")
    assert (found.engine.name, found.precision) == (engine, "bf16")
    assert found.warning and said in found.warning and f"{engine} in bf16 is used" in found.warning


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_bf16_is_not_waited_for_where_it_is_imitated_number_by_number(
    precision: str, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "lacking_bf16", lambda device: "no AVX-512")
    monkeypatch.setattr(load, "fastest", lambda device, precisions: precisions[-1])
    found = loaded(tiny_bases["llama"], precision)
    assert found.precision == "fp32"
    assert found.warning == (None if precision == "auto" else "no AVX-512: transformers in fp32 is used")


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_library_in_bf16_is_taken_where_it_agrees(kind: str, tiny_bases: dict[str, Path]) -> None:
    found = loaded(tiny_bases[kind], "bf16")
    assert (found.engine.name, found.precision, found.warning) == ("transformers", "bf16", None)
    assert found.engine.model.dtype is torch.bfloat16
    assert found.engine.model.model.rotary_emb.inv_freq.dtype is torch.float32, "positions stay exact"


def test_the_library_in_bf16_is_left_where_it_differs(
    tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that bf16 cannot hold: what is left of them is another model."""
    exact = load._in_bf16
    monkeypatch.setattr(load, "_in_bf16", lambda model: exact(_scrambled(model)))
    monkeypatch.setitem(load.MAX_DIFFERENCE, "bf16", 1e-3)
    found = loaded(tiny_bases["llama"], "bf16")
    assert (found.engine.name, found.precision) == ("transformers", "fp32")
    assert found.warning and "the library's pass in bf16 differs by" in found.warning
    assert logits(found, PRODUCTS) == pytest.approx(plain(tiny_bases["llama"], found, PRODUCTS), abs=1e-4)


def _scrambled(model: Any) -> Any:
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.neg_()
            layer.self_attn.o_proj.weight.neg_()
    return model


@pytest.mark.parametrize(("tokens", "engine"), [(96, "lean-gemma3"), (600, "transformers")])
def test_limits_beyond_the_window_get_the_library_and_every_product_is_judged(
    tokens: int, engine: str, tiny_bases: dict[str, Path]
) -> None:
    found = loaded(tiny_bases["gemma3"], "fp32", PromptLimits(product_tokens=tokens))
    assert found.engine.name == engine
    assert (found.warning is None) == (engine == "lean-gemma3")
    if found.warning:
        assert "limits" in found.warning and "512" in found.warning
    products = ["case " * 400, "red case"]
    assert logits(found, products) == pytest.approx(plain(tiny_bases["gemma3"], found, products), abs=1e-4)


def test_a_query_beyond_the_window_is_judged_too(tiny_bases: dict[str, Path]) -> None:
    limits = PromptLimits(query_tokens=700)
    found = loaded(tiny_bases["gemma3"], "fp32", limits)
    prefix = found.encoder.prefix("case " * 400, locale="en")
    assert len(prefix) > 700
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    encoded = found.encoder.products(PRODUCTS)
    with torch.inference_mode():
        rows = [model(torch.tensor([prefix + ids])).logits[0, -1] for ids in encoded]
    expected = torch.stack(rows)[:, list(found.encoder.label_ids)].numpy()
    assert label_logits(found.engine, prefix, encoded) == pytest.approx(expected, abs=1e-4)


def test_a_digest_goes_by_what_the_weights_hold(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for file in tiny_bases["gemma3"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert base_digest(str(folder)) == base_digest(str(tiny_bases["gemma3"]))
    weights = folder / "model.safetensors"
    before = base_digest(str(folder))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert base_digest(str(folder)) != before
    before = base_digest(str(folder))
    words = folder / "tokenizer.json"
    words.write_text(words.read_text() + " ")
    assert base_digest(str(folder)) != before


def test_a_digest_of_large_weights_sees_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csrm.scoring.base._SMALL_BYTES", 2**20)
    chance = np.random.default_rng(0)
    file = tmp_path / "model.safetensors"
    content = chance.bytes(3 * 2**20)
    file.write_bytes(content)
    before = base_digest(str(tmp_path))
    assert base_digest(str(tmp_path)) == before
    file.write_bytes(content[: 2 * 2**20] + chance.bytes(2**20))
    assert base_digest(str(tmp_path)) != before


def test_weights_of_a_hub_are_found_where_they_were_stored(
    tiny_bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "models--shop--tiny"
    snapshot = stored / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("a" * 40)
    for file in tiny_bases["gemma3"].iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert base_digest("shop/tiny") == base_digest(str(tiny_bases["gemma3"]))
