"""Choices that look random and are always the same: drawn from a hash of names, with no state anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def number(*names: object) -> int:
    """A large whole number that depends on ``names`` alone."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def chance(share: float, *names: object) -> bool:
    """True for a ``share`` (0 to 1) of all names."""
    return number(*names) / 2**64 < share


def pick(choices: Sequence[T], *names: object) -> T:
    """One of ``choices`` (at least one)."""
    return choices[number(*names) % len(choices)]


def shuffled(items: Sequence[T], *names: object) -> list[T]:
    """``items`` in an order that depends on ``names`` and on each item's own text."""
    return sorted(items, key=lambda item: number(*names, item))
