"""A recipe of a tiny random model with rows of four grades: seconds, no download."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

GRADE_OF = {"red case": "E", "blue case": "S", "case glue": "C", "garden gnome": "I"}

Settings = dict[str, Any]


def write_lines(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(*queries: str, grades: str = "ESCI") -> list[dict[str, object]]:
    return [
        {"query": query, "title": f"{title} {query}", "label": label, "locale": "en"}
        for query in queries
        for title, label in GRADE_OF.items()
        if label in grades
    ]


def steps_of(run: Path) -> list[int]:
    """The steps whose checkpoints were logged, in the order in which that happened."""
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def settings(tmp_path: Path, tiny_bases: dict[str, Path]) -> Settings:
    """Settings of a recipe whose files are in ``tmp_path``: ten steps of three batches."""
    write_lines(tmp_path / "train.jsonl", rows_of(*(f"case {i}" for i in range(8))))
    write_lines(tmp_path / "dev.jsonl", rows_of(*(f"cover {i}" for i in range(4))))
    return {
        "name": "tiny",
        "base": str(tiny_bases["gemma3"]),
        "batch_tokens": 1024,
        "checkpoint_steps": 2,
        "lora": {"rank": 4, "alpha": 8},
        "dev": ["dev.jsonl"],
        "stages": [
            {"name": "only", "epochs": 3, "learning_rate": 3e-3, "sources": [{"path": "train.jsonl"}]}
        ],
    }
