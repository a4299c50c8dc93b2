"""Time: how long work takes here, learnt from what was done, and how much of it is left.

Knows tokens, layers and clocks; knows no model and no products.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from csrm.errors import DeadlineExceededError

BATCH_TOKENS = 1024
"""Most product tokens of one forward pass, padding included; flat from 512 to 2,048 on two cores."""

GPU_BATCH_TOKENS = 16_384
"""The same on a GPU: a page of products at once, for there a small pass takes as long as its calls. Not measured."""

AMPLE = 2.0
"""Time is ample where so many times the time that the work should take is left."""

_SMALLEST = 64
"""Tokens under which a batch is hardly faster: reading the weights takes its time."""

_FAR = 4.0
"""A pace that is so many times the one just seen is forgotten."""


class Pace:
    """How long a token takes in one layer here: learnt from every batch, the later ones counting most."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def learn(self, tokens: int, layers: int, seconds: float) -> None:
        each = seconds / (max(tokens, _SMALLEST) * layers)
        if self._seconds is None or each < self._seconds / _FAR:  # it was slow for once: memory was cold, say
            self._seconds = each
        else:
            self._seconds += min(1.0, tokens / BATCH_TOKENS) / 2 * (each - self._seconds)

    def seconds(self, tokens: int, layers: int) -> float:
        """How long a batch should take; 0 where nothing is known yet."""
        return (self._seconds or 0.0) * max(tokens, _SMALLEST) * layers if tokens else 0.0


@dataclass(frozen=True, slots=True)
class Together:
    """The pace of two that run one after the other on the same products.

    Attributes:
        one: of the first, whose tokens and layers are asked for.
        other: of the second.
        ratio: of its tokens to those of the first.
        layers: of the second.
    """

    one: Pace
    other: Pace
    ratio: float
    layers: int

    def seconds(self, tokens: int, layers: int) -> float:
        """How long both should take; 0 where nothing is known yet of the first."""
        first = self.one.seconds(tokens, layers)
        return first + self.other.seconds(round(tokens * self.ratio), self.layers) if first else 0.0


@dataclass(slots=True)
class Clock:
    """The time of a walk.

    Args:
        pace: of what computes.
        deadline: ``time.monotonic()`` seconds after which the answer is worthless; none where null.
        partial: stop in time with what there is, instead of raising.
    """

    pace: Pace | Together
    deadline: float | None = None
    partial: bool = False
    began: bool = False

    def ample(self, tokens: int, layers: int) -> bool:
        """Whether so much work fits easily, so that its order does not matter."""
        if self.deadline is None or not self.partial:
            return True
        needed = self.pace.seconds(tokens, layers)
        return needed > 0 and time.monotonic() + AMPLE * needed < self.deadline

    def fitting(self, lengths: Sequence[int], layers: int) -> int:
        """How many of a batch's products, longest first, fit before the deadline; at least one of the first batch.

        Raises:
            DeadlineExceededError: the deadline has passed and a partial answer is not wanted.
        """
        if self.deadline is None:
            return len(lengths)
        now = time.monotonic()
        if not self.partial:
            if now > self.deadline:
                raise DeadlineExceededError("The deadline passed before every product was judged.")
            return len(lengths)
        left = self.deadline - now
        fits = len(lengths)
        # Half of what is left, so that a pace that is wrong by some tenths makes nothing late.
        while fits and self.pace.seconds(fits * lengths[0], layers) > left / 2:
            fits -= 1
        if not fits and self.pace.seconds(lengths[0], layers) < left:
            fits = 1
        if not fits and not self.began and now <= self.deadline:
            fits = 1  # the pace is learnt by running only
        self.began = True
        return fits
