"""The whole table on a tiny model with random weights: real engines, real peers, the same weights and scores."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3TextConfig

from csrm.benchmark.agreement import kendall, readings
from csrm.benchmark.machine import chosen_device, cores, describe
from csrm.benchmark.peers import PEERS
from csrm.benchmark.plain import last_word, reference
from csrm.benchmark.run import Benchmark, Plan, Results, precisions_for
from csrm.benchmark.weights import SHAPES, Weights, of_shape
from csrm.benchmark.work import Work
from csrm.benchmark.workload import searches
from csrm.bundle import Bundle, EncoderPart, Manifest, load_bundle
from csrm.errors import InputError
from csrm.scoring.load import lacking

CPU = torch.device("cpu")
PLAN = Plan(
    products=(5, 20),
    concurrency=(1, 2),
    precisions=tuple(one for one in ("fp32", "bf16") if lacking(one, CPU) is None),
    peers=True,
    seconds=0.01,
    compared=(2, 20),
)
COLUMNS = {
    "scorer",
    "precision",
    "products",
    "concurrency",
    "products_per_s",
    "p50_ms",
    "p99_ms",
    "percent_of_peak",
    "kendall_vs_fp32",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return of_shape("tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def results(weights: Weights) -> Results:
    return Benchmark(weights, PLAN, device="cpu", threads=1).run()


def test_every_cell_has_a_row_of_the_agreed_columns(results: Results) -> None:
    found = {(row.scorer, row.precision, row.products, row.concurrency) for row in results.rows}
    for scorer in ("csrm-full", "transformers", "sentence-transformers", "encoder-21m"):
        for precision in PLAN.precisions:
            assert {(scorer, precision, n, k) for n in (5, 20) for k in (1, 2)} <= found
    for row in results.rows:
        assert set(row.model_dump()) == COLUMNS
        assert row.products_per_s > 0 and 0 < row.p50_ms <= row.p99_ms and row.percent_of_peak > 0


def test_all_that_take_the_weights_give_the_same_order_in_fp32(results: Results) -> None:
    alike = {row.scorer: row.kendall_vs_fp32 for row in results.rows if row.precision == "fp32"}
    assert alike.pop("encoder-21m") < 0.9  # it has weights of its own
    assert all(value > 0.99 for value in alike.values()), alike


def test_a_peer_that_is_not_installed_is_said_to_be_left_out(results: Results) -> None:
    left_out = {(one.scorer, one.reason) for one in results.left_out}
    for name in PEERS.keys() & {"FlagEmbedding", "rerankers"}:
        assert ((name, f"{name} is not installed") in left_out) == (find_spec(name) is None)


def test_what_would_take_too_long_is_left_out_and_said_to_be(weights: Weights) -> None:
    plan = Plan(products=(5, 500), concurrency=(1,), precisions=("fp32",), seconds=0.01, compared=(1, 2))
    said: list[str] = []
    short = replace(plan, cell_limit_s=1e-6)
    found = Benchmark(weights, short, device="cpu", threads=1, say=said.append).run()
    assert [row.products for row in found.rows] == [5]
    (left_out,) = found.left_out
    assert "500 products, 1 at once: would take" in left_out.reason
    assert (left_out.products, left_out.concurrency) == (500, 1)
    assert left_out.predicted_s == pytest.approx(500 / found.rows[0].products_per_s, abs=0.06)
    assert said[0].startswith("At most 0 minutes") and "Scorers: 1. Cells of each: 2" in said[0]
    late = Benchmark(weights, replace(plan, minutes=0.0, peers=True), device="cpu", threads=1).run()
    assert [row.scorer for row in late.rows] == ["csrm-full"]  # the first cell is always worth it
    assert late.left_out[0].reason == "500 products, 1 at once: the time was over"
    assert {one.scorer for one in late.left_out} == {"csrm-full", *PEERS}


def tiny_gemma3() -> Gemma3TextConfig:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
    return Gemma3TextConfig(vocab_size=8_192, num_attention_heads=4, num_key_value_heads=1, **sizes)


@pytest.mark.skipif(lacking("int8", CPU) is not None, reason=str(lacking("int8", CPU)))
def test_integers_are_measured_against_the_peak_of_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHAPES, "tiny-gemma3", tiny_gemma3)
    plan = replace(PLAN, products=(5,), concurrency=(1,), precisions=("int8",), compared=(1, 10))
    found = Benchmark(of_shape("tiny-gemma3", tmp_path), plan, device="cpu", threads=1).run()
    (row,) = found.rows  # no peer runs in integers
    assert (row.scorer, row.precision) == ("csrm-full", "int8")
    assert found.peak_gflops.keys() == {"int8"} and found.left_out == []
    assert 0 < row.percent_of_peak < 100 and row.kendall_vs_fp32 > 0.5


def test_a_bundle_with_a_cross_encoder_is_compared_with_the_word_of_both(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHAPES, "tiny-gemma3", tiny_gemma3)
    bare = of_shape("tiny-gemma3", tmp_path)
    shutil.copy(tiny_encoder, tmp_path / "encoder.safetensors")
    manifest = bare.bundle.manifest.model_copy(update={"encoder": EncoderPart(weight=0.5)})
    (tmp_path / "bundle.json").write_text(manifest.model_dump_json())
    plan = replace(PLAN, products=(5,), concurrency=(1,), precisions=("fp32",), compared=(2, 10), peers=False)
    both = Weights(load_bundle(tmp_path), tmp_path)
    (row,) = Benchmark(both, plan, device="cpu", threads=1).run().rows
    assert row.scorer == "csrm-full" and row.kendall_vs_fp32 > 0.99
    asked = list(islice(searches(10), 2))
    alone = reference(both, "cpu", asked)
    read = readings(both.gains)["gain"]
    for own, word in zip(alone, last_word(both, "cpu", asked, alone), strict=True):
        assert kendall(read(own), read(word)) < 0.9
    assert last_word(bare, "cpu", asked, alone)[0] is alone[0]


def test_precisions_that_cannot_run_are_refused(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLAN, precisions=("fp32", "int8"))
    with pytest.raises(InputError, match=r"precision: int8 cannot be measured here: .*GPU"):
        Benchmark(weights, plan, device="cuda").run()
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    with pytest.raises(InputError, match=r"precision: int8 cannot be measured here: .*AVX2"):
        Benchmark(weights, plan, device="cpu", threads=1).run()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": True})
    with pytest.raises(InputError, match=r"precision: bf16 cannot be measured here: .*AVX-512"):
        Benchmark(weights, replace(PLAN, precisions=("bf16",)), device="cpu", threads=1).run()


def test_the_work_is_what_torch_counts(weights: Weights) -> None:
    """Of one sequence of n tokens; the vocabulary's matrix, which a scorer need not multiply, is left aside."""
    config = AutoConfig.from_pretrained(weights.folder)
    model = AutoModelForCausalLM.from_pretrained(weights.folder)
    tokens = 200
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.model(torch.zeros(1, tokens, dtype=torch.long))
    attention = Work.of(config).attention * tokens**2 / 2  # torch counts the masked half too
    assert Work.of(config).flops(tokens, []) + attention == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert Work.of(config).flops(50, [30, 40]) < Work.of(config).flops(0, [80, 90])


def test_an_unknown_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"choose one of qwen3-0\.6b, gemma3-270m, tiny"):
        of_shape("huge", tmp_path)


def test_the_shapes_have_the_sizes_they_are_called_by() -> None:
    millions = {}
    for name, config in SHAPES.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config())
        millions[name] = round(sum(one.numel() for one in model.parameters()) / 1e6)
    assert millions["qwen3-0.6b"] == 596 and millions["gemma3-270m"] == 268


def test_titles_take_about_as_many_tokens_as_with_a_large_models_tokenizer(weights: Weights) -> None:
    encoder = weights.encoder()
    lengths = [len(ids) for one in islice(searches(100), 10) for ids in encoder.products(one.products)]
    assert 10 < sum(lengths) / len(lengths) < 45


def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert chosen_device("cpu") == "cpu"
    with pytest.raises(InputError, match="choose auto, cpu or cuda"):
        chosen_device("tpu")
    if torch.cuda.is_available():
        assert chosen_device("auto") == chosen_device("cuda") == "cuda"
    else:
        assert chosen_device("auto") == "cpu"
        with pytest.raises(InputError, match="torch sees no GPU"):
            chosen_device("cuda")


def test_the_machine_is_described() -> None:
    told = describe("cpu")
    assert told["device"] and told["packages"]["transformers"] == transformers.__version__
    assert 1 <= cores() <= 4096 and told["cores"] == cores()


@pytest.mark.parametrize("calibrated_in", [None, "bf16", "int8"])
def test_what_is_measured_unasked_is_what_auto_chooses_among(
    calibrated_in: str | None, tmp_path: Path
) -> None:
    manifest = Manifest.model_validate(
        {"name": "tiny", "version": 1, "base": "b", "calibrated_in": calibrated_in}
    )
    bundle = Bundle(tmp_path, manifest)
    measured = precisions_for(bundle, "cpu")
    allowed = ["fp32", "bf16", *(["int8"] if calibrated_in == "int8" else [])]
    assert measured == [one for one in allowed if lacking(one, CPU) is None]
    (fastest,) = precisions_for(bundle, "cpu", quick=True)
    assert fastest in measured
