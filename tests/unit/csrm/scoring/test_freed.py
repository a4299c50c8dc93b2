"""What a model took while it was loaded is given back."""

from __future__ import annotations

import gc
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import safe_open

from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring.base import mapped
from csrm.scoring.freed import give_back
from csrm.scoring.load import EMBEDDING, load_engine


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to")
def test_freed_memory_below_memory_in_use_goes_back() -> None:
    blocks = [
        bytes([n % 256]) * 100_000 for n in range(2_000)
    ]  # each below the size that is mapped by itself
    last = b"x" * 100_000
    process = psutil.Process()
    full = process.memory_info().rss
    blocks.clear()
    give_back()
    assert full - process.memory_info().rss > 150e6, "200 MB were freed"
    assert len(last) == 100_000


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_engine_keeps_no_second_copy_of_its_weights(precision: str, tiny_bases: dict[str, Path]) -> None:
    """The library's model that the lean pass was checked against is gone."""
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, torch.nn.Parameter)}
    loaded = load_engine(
        tiny_bases["gemma3"],
        None,
        PromptTemplate(),
        PromptLimits(),
        precision=precision,  # type: ignore[arg-type]
    )
    assert loaded.engine.name == "lean-gemma3"
    gc.collect()
    kept = [
        tuple(found.shape)
        for found in gc.get_objects()
        if isinstance(found, torch.nn.Parameter) and id(found) not in before
    ]
    assert kept == []


def test_tokens_are_looked_up_in_the_file(tiny_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_bases["gemma3"], folder)
    template, limits = PromptTemplate(), PromptLimits()
    engine: Any = load_engine(folder, None, template, limits, precision="fp32").engine
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as opened:
        stored = opened.get_tensor(EMBEDDING)
    assert torch.equal(engine.weights.embedding, stored)
    region = next(
        line.split()
        for line in Path("/proc/self/maps").read_text().splitlines()
        if (bounds := [int(part, 16) for part in line.split()[0].split("-")])
        and bounds[0] <= engine.weights.embedding.data_ptr() < bounds[1]
    )
    assert region[-1] == str(file)


def test_rows_that_are_not_the_files_are_not_taken_from_it(tiny_bases: dict[str, Path]) -> None:
    with safe_open(tiny_bases["gemma3"] / "model.safetensors", "pt") as opened:
        stored = opened.get_tensor(EMBEDDING)
    folder = str(tiny_bases["gemma3"])
    assert mapped(folder, EMBEDDING, stored) is not None
    assert mapped(folder, EMBEDDING, stored + 1) is None
    assert mapped(folder, EMBEDDING, stored[:-1]) is None
    assert mapped(folder, "model.no_such.weight", stored) is None
