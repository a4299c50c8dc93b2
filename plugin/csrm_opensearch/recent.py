"""Remembers the judgments of recent searches, so that page 2 is not judged again and agrees with page 1.

A judgment depends on query, locale, threshold and product text alone, and that is the key: a changed index or
product can never get a stale one. What is forgotten is simply judged again. Knows no network and no hits.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from csrm.wire import Judgment

Key = tuple[str, str | None, float | None]
"""Query, locale, threshold."""


@dataclass(slots=True)
class _Recent:
    at: float
    judgments: dict[str, Judgment] = field(default_factory=dict)
    failed: bool = False
    judged: int | None = None


class RecentJudgments:
    """A small least-recently-used memory.

    Args:
        searches: how many searches are remembered.
        seconds: for how long after they were last judged.
        clock: seconds, monotonic.
    """

    def __init__(
        self, searches: int = 1_000, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._searches = searches
        self._seconds = seconds
        self._clock = clock
        self._recent: OrderedDict[Key, _Recent] = OrderedDict()

    def get(self, key: Key) -> Mapping[str, Judgment]:
        """Judgments by product text; empty where none are remembered."""
        recent = self._fresh(key)
        return recent.judgments if recent else {}

    def failed(self, key: Key) -> bool:
        """Whether the last attempt at this search had no answer, so that its pages are OpenSearch's own."""
        recent = self._fresh(key)
        return recent is not None and recent.failed

    def judged(self, key: Key) -> int | None:
        """How many hits were judged for the first page of this search, where that was not just the window."""
        recent = self._fresh(key)
        return recent.judged if recent else None

    def put_judged(self, key: Key, hits: int) -> None:
        recent = self._fresh(key) or _Recent(0.0)
        recent.judged = hits
        self._store(key, recent, failed=False)

    def put(self, key: Key, judgments: Mapping[str, Judgment]) -> None:
        recent = self._fresh(key) or _Recent(0.0)
        recent.judgments.update(judgments)
        self._store(key, recent, failed=False)

    def put_failed(self, key: Key) -> None:
        self._store(key, self._fresh(key) or _Recent(0.0), failed=True)

    def _fresh(self, key: Key) -> _Recent | None:
        recent = self._recent.get(key)
        if recent is None or self._clock() - recent.at > self._seconds:
            return None
        self._recent.move_to_end(key)
        return recent

    def _store(self, key: Key, recent: _Recent, *, failed: bool) -> None:
        recent.at, recent.failed = self._clock(), failed
        self._recent[key] = recent
        self._recent.move_to_end(key)
        while len(self._recent) > self._searches:
            self._recent.popitem(last=False)
