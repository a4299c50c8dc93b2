"""Several processes at one training: each takes its rows of a step, and gradients are averaged.

Knows ``torch.distributed``, where somebody set it up (Ray Train does, over GPUs and machines); alone, everything here
does nothing. Knows no model and no task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as distributed

T = TypeVar("T")


def number() -> int:
    """Which process this is, from 0."""
    return distributed.get_rank() if _together() else 0


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _together() else 1


def share(rows: Sequence[T]) -> list[T]:
    """This process's part of the rows of a step."""
    return list(rows[number() :: count()])


def average(parameters: Sequence[torch.nn.Parameter], part: float) -> None:
    """Make each gradient that of the whole step.

    Args:
        parameters: the same in all processes.
        part: what this process's loss counts for in the whole step's; the parts sum to one. A process without rows
            counts 0 and has no gradients.
    """
    if not _together():
        return
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad * part).flatten().float() for p in parameters]
    )
    distributed.all_reduce(flat)
    start = 0
    for parameter in parameters:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter).to(parameter.dtype)
        start += parameter.numel()


def wait() -> None:
    """Until all processes are here: what the first one wrote can then be read by all."""
    if _together():
        distributed.barrier()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
