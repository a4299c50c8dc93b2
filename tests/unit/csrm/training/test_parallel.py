"""Two processes at one training end where one ends, but for rounding."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import torch
import torch.distributed as distributed
import torch.multiprocessing as processes
from safetensors.torch import load_file

from csrm.training.recipe import Recipe
from csrm.training.run import train


def _work(rank: int, port: int, recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")  # nothing here runs long enough to be worth compiling
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    train(recipe, folder / "two", [folder])
    distributed.destroy_process_group()


def test_two_processes_train_what_one_trains(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    for name, query in (("train", "case"), ("dev", "cover")):
        rows = [
            {"query": f"{query} {i}", "title": f"thing {i * j}", "label": label, "locale": "en"}
            for i in range(7)
            for j, label in enumerate("ESCI")
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base": str(tiny_bases["gemma3"]),
            "batch_tokens": 512,
            "dev": ["dev.jsonl"],
            "stages": [
                {"name": "only", "epochs": 2, "learning_rate": 3e-3, "sources": [{"path": "train.jsonl"}]}
            ],
        }
    )
    with torch.compiler.set_stance("force_eager"):
        one = train(recipe, tmp_path / "one", [tmp_path])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes.spawn(_work, (port, recipe, tmp_path), nprocs=2)
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, tmp_path / "two/adapter"))
    ups = [name for name in a if "lora_B" in name]  # these start from nothing
    of_one, of_two = (torch.cat([adapter[name].flatten().float() for name in ups]) for adapter in (a, b))
    assert of_one.norm() > 0
    assert (
        of_one - of_two
    ).norm() < 0.3 * of_one.norm()  # Adam makes much of the rounding of small gradients
    log = [json.loads(line) for line in (tmp_path / "one/log.jsonl").read_text().splitlines()]
    assert 0 <= log[-1]["dev_auc_es"] <= 1
    assert (tmp_path / "one/curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "one/tensorboard").iterdir())
