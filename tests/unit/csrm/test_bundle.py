"""Bundles and the model they make: found, checked, judged with."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from csrm.bundle import load_bundle, shipped_bundles
from csrm.errors import BaseModelError, BundleError, DeadlineExceededError, InputError
from csrm.model import TOKENISED_AT_ONCE, RelevanceModel
from csrm.prompt import PromptEncoder


@pytest.fixture
def bundle(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    manifest = {"name": "tiny", "version": 3, "base": str(tiny_bases["gemma3"]), "threshold": 0.5}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest | {"thresholds": {"ko": 0.25}}))
    return tmp_path


def test_every_shipped_bundle_loads_and_is_small() -> None:
    names = [path.parent.name for path in shipped_bundles().glob("*/bundle.json")]
    assert load_bundle().path.name in names
    for name in names:
        found = load_bundle(name)
        assert (found.path / "MODEL_CARD.md").read_text()
        trained = [*found.path.glob("adapter/*"), *found.path.glob("*.safetensors")]
        assert sum(file.stat().st_size for file in trained) <= 16e6
        assert sum(file.stat().st_size for file in found.path.glob("knowledge/*")) <= 5e6


def test_thresholds_go_by_locale_then_language_then_pool(bundle: Path) -> None:
    found = load_bundle(bundle)
    assert [found.threshold(locale) for locale in ("ko", "ko-KR", "ja", None)] == [0.25, 0.25, 0.5, 0.5]


def test_a_threshold_and_its_calibration_are_of_the_same_rows(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    own = {"thresholds": {"ko": 0.25, "ko-KR": 0.3}, "calibrations": {"ko": {"offset": 2.0}}}
    (bundle / "bundle.json").write_text(json.dumps(manifest | own))
    found = load_bundle(bundle)
    assert [found.calibration(locale).offset for locale in ("ko", "ko-KP", "ko-KR", "ja", None)] == [
        2,
        2,
        0,
        0,
        0,
    ]
    model = RelevanceModel.load(bundle, precision="fp32")
    raw = model.grade("case", ["red case"], locale="ko")[:, 2:].sum()
    (judged,) = model.judge("case", ["red case"], locale="ko").results
    assert judged.irrelevance == pytest.approx(1 / (1 + (1 - raw) / raw * np.exp(-2)), rel=1e-4)


def test_an_unknown_bundle_names_those_there_are() -> None:
    with pytest.raises(BundleError, match="csrm-gemma3-270m"):
        load_bundle("nobody")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not JSON"),
        ('{"name": "x", "version": 0, "base": "y"}', "version"),
        ('{"name": "x", "version": 1, "base": "y", "gains": {"E": 1, "S": 0.5}}', "gains: .*C, I missing"),
        ('{"name": "x", "version": 1, "base": "y", "calibrations": {"ko": {}}}', "ko: .* needs a threshold"),
    ],
)
def test_a_broken_manifest_names_its_fault(content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match=named):
        load_bundle(tmp_path)


def test_judgments_come_in_the_order_asked(bundle: Path) -> None:
    model = RelevanceModel.load(bundle, precision="fp32")
    products = ["red case", "blue phone " * 20, "red case"]
    judged = model.judge("case", products, locale="ko").results
    assert [judgment.index for judgment in judged] == [0, 1, 2]
    for judgment in judged:
        assert sum(judgment.grades.model_dump().values()) == pytest.approx(1, abs=1e-5)
        assert judgment.decision == ("remove" if judgment.irrelevance > 0.25 else "keep")
    assert judged[0].score == pytest.approx(judged[2].score, abs=1e-6)
    assert judged[0].score != pytest.approx(judged[1].score, abs=1e-9)


def test_a_threshold_of_the_request_wins(bundle: Path) -> None:
    model = RelevanceModel.load(bundle, precision="fp32")
    assert model.judge("case", ["x"], threshold=0.0).results[0].decision == "remove"
    assert model.judge("case", ["x"], threshold=1.0).results[0].decision == "keep"


@pytest.mark.parametrize(
    ("query", "products", "named"), [(" ", ["x"], "query"), ("q", ["x", " "], r"products\[1\]")]
)
def test_blank_text_is_named(query: str, products: list[str], named: str, bundle: Path) -> None:
    with pytest.raises(InputError, match=named):
        RelevanceModel.load(bundle).judge(query, products)


def test_a_base_that_is_not_there_is_named(bundle: Path) -> None:
    with pytest.raises(BaseModelError, match="does not exist"):
        RelevanceModel.load(bundle, base="./nowhere")


def test_an_unknown_precision_is_named(bundle: Path) -> None:
    with pytest.raises(InputError, match="fp32"):
        RelevanceModel.load(bundle, precision="int3")


@pytest.mark.parametrize("partial", [False, True])
def test_many_products_are_tokenised_in_steps_and_not_beyond_the_deadline(
    bundle: Path, partial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = PromptEncoder.products

    def counting(self: PromptEncoder, products: Sequence[str]) -> list[list[int]]:
        read.append(len(products))
        return whole(self, products)

    model = RelevanceModel.load(bundle, precision="fp32", cache_mb=1)
    monkeypatch.setattr(PromptEncoder, "products", counting)
    products = [f"case {number}" for number in range(150)]
    model.grade("case", products[:10])
    read.clear()
    steps = model.judging("case", products, deadline=time.monotonic() + 60, partial=partial)
    next(steps)
    assert sum(read) == TOKENISED_AT_ONCE
    for _ in steps:
        assert max(read) <= TOKENISED_AT_ONCE
    assert sum(read) == 140, "what is remembered is not tokenised"
    read.clear()
    late = model.judging("glue", products, deadline=time.monotonic() - 1, partial=partial)
    with pytest.raises(DeadlineExceededError):
        list(late)
    assert not read
