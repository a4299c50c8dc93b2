"""Two processes at one training end where one ends, but for rounding; and what a run leaves to look at."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as processes
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

from csrm.training import parallel, relevance, trainer
from csrm.training.data import read_pairs
from csrm.training.recipe import Recipe
from csrm.training.run import train


def in_fp32(_: object) -> str:
    """Bf16 rounds so much that two sums of the same gradients part ways; what is compared is told apart in fp32."""
    return "the test compares in fp32"


def _work(rank: int, port: int, recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")  # nothing here runs long enough to be worth compiling
    trainer.lacking_bf16 = in_fp32
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(_averaged(rank), folder / f"averaged-{rank}.pt")
    train(recipe, folder / "two", [folder])
    distributed.destroy_process_group()


def _averaged(rank: int) -> list[torch.Tensor | None]:
    """Gradients of a step of four rows, three of them the first process's; the second has none in one parameter."""
    parameters = [
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16)),
    ]
    parameters[0].grad = torch.tensor([1.0, -2.0]) if rank == 0 else torch.tensor([5.0, 2.0])
    parameters[1].grad = torch.tensor([4.0], dtype=torch.bfloat16) if rank == 0 else None
    parallel.average(parameters, 0.75 if rank == 0 else 0.25)
    return [parameter.grad for parameter in parameters]


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Value by tag and step in TensorBoard files; a record there is the length, its checksum, an event, a checksum."""
    found: dict[str, dict[int, float]] = {}
    for file in folder.iterdir():
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
            at += 16 + length
    return found


def test_two_processes_train_what_one_trains(
    tmp_path: Path, tiny_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "lacking_bf16", in_fp32)
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
    # Adapters are written in bf16, where the last bit of a few weights may fall the other way.
    assert (of_one - of_two).norm() < 0.01 * of_one.norm()
    for rank in range(2):
        first, second = torch.load(tmp_path / f"averaged-{rank}.pt")
        assert first.tolist() == [0.75 * 1 + 0.25 * 5, 0.75 * -2 + 0.25 * 2]
        assert (second.tolist(), second.dtype) == ([3.0], torch.bfloat16)

    (line,) = [json.loads(line) for line in (tmp_path / "one/log.jsonl").read_text().splitlines()]
    assert line["stage"] == "only"
    shown = scalars(tmp_path / "one/tensorboard")
    assert shown.keys() == {f"only/{name}" for name in ("loss", "tokens_per_s", "dev_auc_es")}
    for name in ("loss", "dev_auc_es"):
        assert shown[f"only/{name}"] == {line["step"]: pytest.approx(line[name], abs=1e-5)}
    rows = read_pairs(tmp_path / "dev.jsonl")
    with torch.compiler.set_stance("force_eager"):
        judge = trainer.Trainer(recipe)
        judge.load(one)
        said = judge.grades(relevance.encode(rows, [[]] * len(rows), judge.encoder))[0]
    relevant = np.array([row.label in "ES" for row in rows])
    assert line["dev_auc_es"] == pytest.approx(relevance.relevant_auc(relevant, said), abs=0.02)
    assert (tmp_path / "one/curves.png").read_bytes().startswith(b"\x89PNG")
