"""Reference rows: a bundle that grades otherwise than when it was written is refused, whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from csrm.bundle import MANIFEST_FILE
from csrm.errors import BundleError
from csrm.model import RelevanceModel
from csrm.reference import QUERIES, reference_rows
from csrm.scoring import integers

from .conftest import save_distinct

PRECISIONS = ["fp32", "bf16"] + ([] if integers.lacking(torch.device("cpu")) else ["int8"])


def save_exit(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_file({"norm": 1 + torch.rand(32), "rows": torch.randn(4, 32)}, folder / "exit.safetensors")


@pytest.fixture
def base(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    folder = tmp_path / "base"
    save_distinct(tiny_bases["gemma3"], folder)
    return folder


@pytest.fixture
def bundle(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    save_exit(folder, 5)
    manifest = {"name": "tiny", "version": 3, "base": str(base), "exit": {"layer": 2}}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    rows = reference_rows(RelevanceModel.load(folder, precision="fp32"))
    manifest["reference"] = [row.model_dump() for row in rows]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_that_grades_as_it_did_is_loaded(bundle: Path, precision: str) -> None:
    model = RelevanceModel.load(bundle, precision=precision, cache_mb=1)
    rows = model.bundle.manifest.reference
    assert len(rows) == sum(len(products) for *_, products in QUERIES)
    assert all(row.early is not None for row in rows)
    assert len(model.cache) == 0, "what is asked at the start is no shopper's question"


def shuffled_tokenizer(bundle: Path, base: Path) -> None:
    file = base / "tokenizer.json"
    described = json.loads(file.read_text())
    words = described["model"]["vocab"]
    letters = [word for word in words if len(word) == 1]
    places = [words[letter] for letter in letters]
    words |= dict(zip(letters, places[::-1], strict=True))
    file.write_text(json.dumps(described))


def other_base(bundle: Path, base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(8)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
    model.save_pretrained(base)


def other_adapter(bundle: Path, base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["o_proj", "down_proj"]))
    torch.manual_seed(9)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_()
    adapted.save_pretrained(str(bundle / "adapter"))


def other_exit(bundle: Path, base: Path) -> None:
    save_exit(bundle, 6)


@pytest.mark.parametrize("change", [shuffled_tokenizer, other_base, other_adapter, other_exit])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_that_grades_otherwise_is_refused(
    bundle: Path, base: Path, change: Callable[[Path, Path], None], precision: str
) -> None:
    """Everything of the right shape, and every grade a finite number."""
    change(bundle, base)
    with pytest.raises(BundleError, match="tiny@3 grades its reference rows otherwise") as refused:
        RelevanceModel.load(bundle, precision=precision)
    assert str(base) in str(refused.value)
    assert ("level fast" in str(refused.value)) == (change is other_exit)


def test_a_bundle_without_reference_rows_is_loaded_as_before(bundle: Path, base: Path) -> None:
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    del manifest["reference"]
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    other_base(bundle, base)
    assert RelevanceModel.load(bundle, precision="fp32").bundle.manifest.reference == []


def test_a_probability_that_is_none_names_its_field(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    manifest["reference"][0]["grades"][1] = 1.5
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"reference\.0\.grades\.1"):
        RelevanceModel.load(bundle)
