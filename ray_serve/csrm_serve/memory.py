"""How much memory this process may still get. Knows the machine and its container; knows nothing of Ray."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory this process may still get: the machine's, or its container's where that is less."""
    available = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no cgroup v2 here, or one without a limit ("max")
        limit = int((_CGROUP / "memory.max").read_text())
        available = min(available, limit - int((_CGROUP / "memory.current").read_text()))
    return available
