"""What a run was trained with: versions, processor, threads, GPUs.

Runs are passed on: nothing is written down that would name a machine or its user.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from csrm.benchmark.machine import cores, processor
from csrm.training import parallel

FILE = "environment.json"
PACKAGES = ("csrm-opensearch", "torch", "transformers", "peft")


def write_environment(run: Path) -> None:
    """Write it into the folder of a run; a run that goes on elsewhere says where it is now."""
    (run / FILE).write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Of the first process, where several train together."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "processes": parallel.count(),
        **{package: version(package) for package in PACKAGES},
    }
