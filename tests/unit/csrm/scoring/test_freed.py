"""What a model took while it was loaded is given back."""

from __future__ import annotations

import gc
import platform
from pathlib import Path

import psutil
import pytest
import torch

from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring.freed import give_back
from csrm.scoring.load import load_engine


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
    embedding = loaded.engine.weights.embedding  # type: ignore[attr-defined]
    assert [shape for shape in kept if shape != tuple(embedding.shape)] == []
