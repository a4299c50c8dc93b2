"""`csrm train --workers 2` on a real Ray: one of the workers dies, and the same command goes on to the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from csrm_cli.main import load
from tests.unit.csrm.conftest import save_base
from tests.unit.csrm.training.conftest import rows_of, steps_of, write_lines

CHECKPOINT = "checkpoint-only.pt"


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


def recipe_in(folder: Path) -> Path:
    save_base("qwen3", folder / "base")
    write_lines(folder / "train.jsonl", rows_of(*(f"case {number}" for number in range(8))))
    write_lines(folder / "dev.jsonl", rows_of(*(f"cover {number}" for number in range(4))))
    recipe = folder / "recipe.yaml"
    stage = {"name": "only", "epochs": 30, "learning_rate": 3e-3, "sources": [{"path": "train.jsonl"}]}
    settings = {"name": "tiny", "base": str(folder / "base"), "dev": ["dev.jsonl"], "stages": [stage]}
    settings |= {"batch_tokens": 512, "checkpoint_steps": 2, "lora": {"rank": 4, "alpha": 8}}
    recipe.write_text(yaml.safe_dump(settings))
    return recipe


def workers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and "TrainWorker" in " ".join(process.cmdline())
    ]


@pytest.mark.timeout(400)
def test_a_worker_that_dies_costs_nothing_that_was_checkpointed(two_cores: None, tmp_path: Path) -> None:
    recipe, run = recipe_in(tmp_path), tmp_path / "run"
    command = [str(part) for part in (recipe, "--data", tmp_path, "--run", run, "--workers", 2)]
    seen: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 300
        while not (run / CHECKPOINT).exists() and time.monotonic() < until:
            time.sleep(0.02)
        found = workers()
        seen.append(len(found))
        found[-1].kill()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    first = CliRunner(env={"COLUMNS": "200"}).invoke(load("train"), command)
    killer.join()
    assert seen == [2], "two workers trained"
    assert first.exit_code != 0
    said = " ".join(f"{first.output} {first.exception}".split())
    assert "A worker failed: number" in said and "ended without a word" in said, said
    assert not (run / "adapter").exists()
    kept, before = torch.load(run / CHECKPOINT)["step"], steps_of(run)
    assert kept >= 2

    second = CliRunner(env={"COLUMNS": "200"}).invoke(load("train"), command)
    assert second.exit_code == 0, second.output
    after = steps_of(run)[len(before) :]
    assert after[0] == kept + 2, "it went on after the checkpoint"
    assert after == sorted(set(after)) and len(after) > 1
    trained = load_file(run / "adapter" / "adapter_model.safetensors")
    assert any(weight.abs().max() > 0 for name, weight in trained.items() if "lora_B" in name)
