"""Where the recipes and the written rows are that come with the distribution. Knows no recipe and no row."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_recipes() -> Path:
    """The folder of the recipes (YAML)."""
    return _folder("recipes")


def shipped_rows() -> Path:
    """The folder of the rows that were written for this project (JSONL)."""
    return _folder("data")


def _folder(name: str) -> Path:
    installed = Path(str(files("csrm"))) / name
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / name
