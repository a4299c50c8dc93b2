"""What the demo asks of the machine: free memory, free ports, and a line that says what it ran on."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import psutil

from demo.errors import NotEnoughError, PortError

NEEDED_GB = 3.3
"""OpenSearch 0.8, Ray with its dashboard 1.0, a scorer with the shipped base 1.5."""

_CGROUP = Path("/sys/fs/cgroup")
_PORTS_TRIED = 50


def check_memory(needed_gb: float = NEEDED_GB) -> None:
    """Refuse to start what would be killed half way.

    Raises:
        NotEnoughError: less memory is free than the demo needs.
    """
    free = free_memory_gb()
    if free < needed_gb:
        raise NotEnoughError(
            f"The demo needs about {needed_gb:.1f} GB of free memory and {free:.1f} GB are free: "
            "close other programs or use a larger machine."
        )


def free_memory_gb() -> float:
    """Memory that new processes can have, in GB; inside a container, what its limit leaves."""
    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        cache = next(
            int(line.split()[1])
            for line in (_CGROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, StopIteration, ValueError):
        limit = "max"
    if limit != "max":
        free = min(free, int(limit) - used + cache)
    return free / 1e9


def free_port(preferred: int, taken: frozenset[int] = frozenset()) -> int:
    """The preferred port of 127.0.0.1, or the next free one.

    Args:
        preferred: tried first.
        taken: ports promised to others that do not listen yet.

    Raises:
        PortError: none of the next 50 is free.
    """
    for port in range(preferred, preferred + _PORTS_TRIED):
        if port not in taken and _is_free(port):
            return port
    raise PortError(
        f"All ports from {preferred} to {preferred + _PORTS_TRIED - 1} are taken: stop what listens there."
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def describe() -> dict[str, str | int | float]:
    """The machine that the figures were measured on."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
