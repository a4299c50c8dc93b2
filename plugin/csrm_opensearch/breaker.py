"""A circuit breaker: stops asking a service that fails, and finds out by itself when it is back.

    closed --(failures in a row)--> open --(cooldown)--> probing --(one success)--> closed
                                      ^------------(one failure)------------|

Pure but for the clock, which is given. Knows nothing of what it guards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "probing"]


class CircuitBreaker:
    """Ask ``allow`` before each attempt and report every allowed one as success, failure or abandoned.

    Args:
        failures: how many in a row open the breaker.
        cooldown: seconds until one probe is let through.
        clock: seconds, monotonic.
    """

    def __init__(self, failures: int, cooldown: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._clock = clock
        self._failed = 0
        self._opened = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        if self._failed < self._limit:
            return "closed"
        return "probing" if self._probing else "open"

    def allow(self) -> bool:
        """Whether an attempt may be made now; while open, only one probe at a time after the cooldown."""
        if self._failed < self._limit:
            return True
        if self._probing or self._clock() - self._opened < self._cooldown:
            return False
        self._probing = True
        return True

    def success(self) -> None:
        self._failed, self._probing = 0, False

    def failure(self) -> None:
        was_closed = self._failed < self._limit
        self._failed = min(self._failed + 1, self._limit)
        if self._probing or (was_closed and self._failed == self._limit):
            self._opened = self._clock()
        self._probing = False

    def abandoned(self) -> None:
        """The attempt ended without telling anything of the service (its client went away)."""
        self._probing = False
