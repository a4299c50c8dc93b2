"""How much memory a scorer replica takes, measured at a running service from outside.

Knows the processes of a service that was started here, and its ``/readyz``; knows nothing of what it is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.request import urlopen

import orjson
import psutil

from csrm_serve.errors import StartError

T = TypeVar("T")

_SCORER = "ray::ServeReplica:csrm:Scorer"
"""How Ray titles the process of a replica of `csrm_serve.app`."""

REST_S = 25.0
"""Within so long a replica that has nothing to do gives memory back: Serve asks for its health every ten seconds."""


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """Resident memory of a replica that does nothing just now, Ray's own in the process included; 1 MB is 10^6 bytes.

    ``ready_mb`` before it was asked anything, ``served_mb`` afterwards.
    """

    precision: str
    ready_mb: float
    served_mb: float


def memory_around(url: str, ask: Callable[[], T]) -> tuple[ReplicaMemory, T]:
    """The memory of a replica before and after ``ask``, and what that gives.

    Args:
        url: of the relevance API, which this process or a child of it has started.

    Raises:
        StartError: no process of a scorer is found.
    """
    with urlopen(f"{url}/readyz", timeout=60) as answer:
        precision = str(orjson.loads(answer.read())["scorer"]["precision"])
    ready = _largest_mb()
    found = ask()
    time.sleep(REST_S)
    return ReplicaMemory(precision, ready, _largest_mb()), found


def _largest_mb() -> float:
    sizes = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(_SCORER):
                sizes.append(process.memory_info().rss / 1e6)
    if not sizes:
        raise StartError("No process of a scorer is found here: measure where the service was started.")
    return round(max(sizes), 1)
