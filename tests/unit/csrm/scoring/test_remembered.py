"""A later start knows what the library's model said, does without it, and trusts nothing that does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring import load, remembered
from csrm.scoring.load import Loaded, load_engine
from csrm.scoring.walk import label_logits
from tests.unit.csrm.scoring.test_adapter import written

START = """
import sys
from pathlib import Path
from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring import remembered
from csrm.scoring.load import load_engine
base, cache = map(Path, sys.argv[1:])
remembered.cache_folder = lambda: cache
load_engine(base, None, PromptTemplate(), PromptLimits(), precision="fp32")
print("modeling_gemma3" in " ".join(sys.modules), "torch._dynamo" in sys.modules)
"""


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where answers are kept."""
    monkeypatch.setattr(remembered, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "checks"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that the library's model is read."""
    read = load._read
    found: list[Any] = []

    def counted(*args: Any) -> Any:
        found.append(args)
        return read(*args)

    monkeypatch.setattr(load, "_read", counted)
    return found


def loaded(base: Path, adapter: Path | None = None, template: PromptTemplate | None = None) -> Loaded:
    return load_engine(base, adapter, template or PromptTemplate(), PromptLimits(), precision="fp32")


def logits(found: Loaded) -> np.ndarray:
    prefix = found.encoder.prefix("case", locale="en")
    return label_logits(found.engine, prefix, found.encoder.products(["red case", "blue kettle " * 9]))


def test_a_later_start_does_without_the_librarys_model(
    checks: Path, reads: list[Any], tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = written(tiny_bases["gemma3"], tmp_path / "adapter")
    first = loaded(tiny_bases["gemma3"], adapter)
    assert len(reads) == 1
    again = loaded(tiny_bases["gemma3"], adapter)
    assert len(reads) == 1
    assert (again.engine.name, again.warning) == ("lean-gemma3", None)
    assert (again.base_digest, again.precision) == (first.base_digest, first.precision)
    assert np.array_equal(logits(first), logits(again))
    assert [file.suffix for file in checks.iterdir()] == [".json"], "nothing else is left behind"


def test_nor_its_code(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", START, str(tiny_bases["gemma3"]), str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["True", "True"], ["False", "False"]]


def test_other_weights_and_words_are_asked_of_the_library(
    checks: Path, reads: list[Any], tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_bases["gemma3"], tmp_path / "base")
    adapter = written(base, tmp_path / "adapter")
    loaded(base)
    loaded(base, adapter)
    loaded(base, adapter, PromptTemplate(suffix="\nMatch:"))
    assert len(reads) == 3
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + b"\x00\x3f")
    loaded(base, adapter)
    assert len(reads) == 4
    model = base / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-2] + b"\x00\x3f")
    loaded(base)
    assert len(reads) == 5 == len(list(checks.iterdir()))


@pytest.mark.parametrize("kept", ["", "[[1, 2]]", "null", "numbers", "not finite"])
def test_what_does_not_fit_is_asked_anew(
    kept: str, checks: Path, reads: list[Any], tiny_bases: dict[str, Path]
) -> None:
    first = loaded(tiny_bases["gemma3"])
    (file,) = checks.iterdir()
    right = json.loads(file.read_text())
    wrong = {
        "numbers": json.dumps(np.roll(right, 1, axis=1).tolist()),
        "not finite": json.dumps([[float("nan")] * len(right[0])] * len(right)),
    }
    file.write_text(wrong.get(kept, kept))
    again = loaded(tiny_bases["gemma3"])
    assert len(reads) == 2
    assert (again.engine.name, again.warning) == ("lean-gemma3", None)
    assert np.array_equal(logits(first), logits(again))
    assert json.loads(file.read_text()) == right


def test_a_folder_that_cannot_be_written_costs_the_next_start_only(
    checks: Path, reads: list[Any], tiny_bases: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    checks.parent.write_text("a file where the folder should be")
    with caplog.at_level("INFO", "csrm.scoring.remembered"):
        assert loaded(tiny_bases["gemma3"]).warning is None
    assert "The next start compares with the library's model again" in caplog.text
    loaded(tiny_bases["gemma3"])
    assert len(reads) == 2


def test_a_lean_pass_that_went_wrong_since_is_left(
    checks: Path, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(tiny_bases["gemma3"])
    right = load.LeanGemma3Engine._run_to_the_end
    monkeypatch.setattr(load.LeanGemma3Engine, "_run_to_the_end", lambda *args: right(*args).flip(-1))
    found = loaded(tiny_bases["gemma3"])
    assert found.engine.name == "transformers"
    assert found.warning and "the lean pass in fp32 differs by" in found.warning


def test_names_that_only_the_library_knows_are_left_to_it(
    checks: Path, reads: list[Any], tiny_bases: dict[str, Path], tmp_path: Path
) -> None:
    """As of a model without its head, whose names lack their first part."""
    base = shutil.copytree(tiny_bases["gemma3"], tmp_path / "base")
    file = base / "model.safetensors"
    tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    first, again = loaded(base), loaded(base)
    assert len(reads) == 2
    assert (again.engine.name, again.warning) == ("lean-gemma3", None)
    assert np.array_equal(logits(first), logits(again))


def test_other_models_leave_nothing(checks: Path, reads: list[Any], tiny_bases: dict[str, Path]) -> None:
    for _ in range(2):
        assert loaded(tiny_bases["llama"]).engine.name == "transformers"
    assert len(reads) == 2
    assert not checks.exists()
