"""What a run says of the machine that it was trained on, and what it keeps to itself."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from csrm.benchmark.machine import cores, processor
from csrm.training.environment import write_environment


def test_a_run_says_what_it_was_trained_on_but_not_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    write_environment(tmp_path)
    text = (tmp_path / "environment.json").read_text()
    packages = {name: version(name) for name in ("csrm-opensearch", "torch", "transformers", "peft")}
    assert json.loads(text) == {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpus": ["GPU 0", "GPU 1"],
        "cuda": "13.0",
        "processes": 1,
        **packages,
    }
    for secret in (str(tmp_path), str(Path.home()), str(Path.cwd())):
        assert secret not in text


def test_without_a_gpu_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    write_environment(tmp_path)
    told = json.loads((tmp_path / "environment.json").read_text())
    assert (told["gpus"], told["cuda"]) == ([], None)
    assert told["processor"] and told["cores"] >= 1
