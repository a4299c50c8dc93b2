"""The cross-encoder against transformers' own pass, its files, and what it makes of odd texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from csrm.encoder.bert import base_of
from csrm.encoder.cross_encoder import MAX_TOKENS, CrossEncoder, padded, read_changes, weight_of, word_rows
from csrm.encoder.e5 import E5File
from csrm.errors import BundleError
from csrm.scoring.load import lacking
from tests.unit.csrm.conftest import another_model_loading
from tests.unit.csrm.encoder.reference import bert

TITLES = [
    "phone case, black",
    "Funda",
    "手機殼 透明 " * 5,
    "에어팟 케이스",
    "x" * 3_000,
    "</s> exact <s>",
    "﻿​ 0",
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(encoder_file: Path) -> CrossEncoder:
    return CrossEncoder.load(encoder_file, "fp32", CPU)


def said(encoder: CrossEncoder, pairs: list[list[int]]) -> np.ndarray:
    return encoder.logits(pairs).numpy()


def test_it_says_what_the_librarys_pass_says(e5: E5File, encoder: CrossEncoder, encoder_file: Path) -> None:
    changes = read_changes(encoder_file, e5)
    pairs = encoder.encode("phone case", TITLES)
    model = bert(e5, base_of(e5), changes)
    with torch.inference_mode():
        for pair, found in zip(pairs, said(encoder, pairs), strict=True):
            ids, _ = padded([pair])
            mean = model(inputs_embeds=word_rows(e5, ids)).last_hidden_state[0].mean(0)
            dense = torch.tanh(changes["dense.weight"] @ mean + changes["dense.bias"])
            assert found == pytest.approx(
                (changes["grades.weight"] @ dense + changes["grades.bias"]).numpy(), abs=1e-3
            )
    assert np.ptp(said(encoder, pairs), axis=0).min() > 0.1, "products are told apart"


def test_neighbours_in_a_batch_change_nothing(encoder: CrossEncoder) -> None:
    pairs = encoder.encode("phone case", TITLES)
    alone = np.concatenate([said(encoder, [pair]) for pair in pairs])
    assert said(encoder, pairs) == pytest.approx(alone, abs=1e-3)


def test_long_pairs_are_cut_and_keep_their_query(encoder: CrossEncoder) -> None:
    (short,) = encoder.encode("phone case", ["x"])
    (long,) = encoder.encode("phone case", ["word " * 2_000])
    assert len(long) == MAX_TOKENS
    assert long[:6] == short[:6]


def test_notes_are_read_and_give_way_to_the_query(encoder: CrossEncoder) -> None:
    plain, told = (encoder.encode("에어팟", TITLES[:3], notes) for notes in ((), ("에어팟 = AirPods",)))
    assert (said(encoder, plain) != said(encoder, told)).any(axis=1).all()
    long = encoder.encode("에어팟", ["word " * 200], ["note " * 300])
    assert len(long[0]) == MAX_TOKENS
    assert long[0][: len(plain[0]) // 3] == plain[0][: len(plain[0]) // 3]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrower_formats_are_near_fp32(encoder: CrossEncoder, encoder_file: Path, precision: str) -> None:
    if reason := lacking(precision, CPU):
        pytest.skip(reason)
    pairs = encoder.encode("phone case", TITLES)
    narrow, exact = said(CrossEncoder.load(encoder_file, precision, CPU), pairs), said(encoder, pairs)
    difference = np.abs(narrow - exact)
    assert 0 < difference.mean() < 0.25 * exact.std()  # the drawn head is far louder than a trained one
    assert np.corrcoef(narrow.ravel(), exact.ravel())[0, 1] > 0.95


@pytest.mark.skipif(lacking("int8", CPU) is not None, reason="the kernels are those of int8")
def test_no_kernel_is_compiled_while_another_model_is_loaded(encoder_file: Path) -> None:
    encoder = CrossEncoder.load(encoder_file, "int8", CPU)
    pairs = encoder.encode("phone case", TITLES)
    with another_model_loading():
        encoder.logits(pairs)


def test_work_is_counted(encoder: CrossEncoder) -> None:
    pairs = encoder.encode("phone case", ["x", "word " * 30])
    one, more = encoder.flops(pairs[:1]), encoder.flops(pairs)
    assert one == pytest.approx(2 * 12 * 12 * 384**2 * len(pairs[0]), rel=0.02)
    assert more > 3 * one


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("grades.bias", None, "grades.bias: missing"),
        ("grades.weight", torch.zeros(3, 384), r"grades.weight: \(3, 384\), not of the shape \(4, 384\)"),
        ("dense.bias", torch.full((384,), float("nan")), "dense.bias: holds what is no number"),
        ("layer.3.output.dense.A", torch.zeros(5, 1536), "layer"),
    ],
)
def test_wrong_changes_are_named(
    e5: E5File, encoder_file: Path, tmp_path: Path, name: str, value: Tensor | None, message: str
) -> None:
    tensors = load_file(encoder_file)
    tensors.pop(name)
    if value is not None:
        tensors[name] = value
    save_file(tensors, tmp_path / "encoder.safetensors")
    with pytest.raises(BundleError, match=message):
        read_changes(tmp_path / "encoder.safetensors", e5)


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_broken_file_is_named(e5: E5File, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "encoder.safetensors"
    if content is not None:
        file.write_bytes(content)
    for read in (lambda: read_changes(file, e5), lambda: weight_of(file)):
        with pytest.raises(BundleError, match=r"encoder\.safetensors"):
            read()


@pytest.mark.parametrize(("metadata", "weight"), [({"weight": "0.25"}, 0.25), (None, 0.0)])
def test_a_file_says_its_weight(tmp_path: Path, metadata: dict[str, str] | None, weight: float) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "e", metadata=metadata)
    assert weight_of(tmp_path / "e") == weight


@pytest.mark.parametrize("said", ["1", "-0.1", "nan", "much"])
def test_a_weight_that_is_none_is_refused(tmp_path: Path, said: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "e", metadata={"weight": said})
    with pytest.raises(BundleError):
        weight_of(tmp_path / "e")
