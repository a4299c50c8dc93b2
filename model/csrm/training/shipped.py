"""Where the recipes and the written rows are that come with the distribution. Knows no recipe and no row."""

from __future__ import annotations

from pathlib import Path

from csrm.bundle import shipped_folder


def shipped_recipes() -> Path:
    """The folder of the recipes (YAML)."""
    return shipped_folder("recipes")


def shipped_rows() -> Path:
    """The folder of the rows that were written for this project (JSONL)."""
    return shipped_folder("data")
