"""The machine that the figures were measured on, and where a model would run on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from csrm.errors import InputError

PACKAGES = ("csrm-opensearch", "torch", "transformers", "sentence-transformers", "FlagEmbedding", "rerankers")
"""Those whose versions stand beside the figures, where they are installed."""


def chosen_device(wanted: str) -> str:
    """``cpu`` or ``cuda``.

    Args:
        wanted: one of the two, or ``auto``.

    Raises:
        InputError: anything else, or a GPU where torch sees none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"Unknown device {wanted}: choose auto, cpu or cuda.")
    seen = torch.cuda.is_available()
    if wanted == "cuda" and not seen:
        raise InputError("torch sees no GPU here: choose --device cpu, or install a torch build for it.")
    return "cpu" if wanted == "cpu" or not seen else "cuda"


def describe(device: str) -> dict[str, Any]:
    """What stands above the table."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in PACKAGES if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux, or a processor without a name
        return platform.processor() or "unknown"
