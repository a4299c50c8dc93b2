"""Remembers the judgments of recent searches, so that page 2 is not judged again and agrees with page 1.

Query, locale, threshold, model, level and product text are the key: a changed index or product can never get a stale
one. What is forgotten is simply judged again. What there was no time for on page 1 is remembered as unscored, so that
page 2 leaves it where it was. Texts are remembered by a hash and judgments packed: a thousand windows of a hundred
take less than 30 MB. Knows no network and no hits.
"""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from csrm.wire import GradeProbabilities, Judgment, Level

Key = tuple[str, str | None, float | None, str | None, Level | None]
"""Query, locale, threshold, model, level."""

_UNSCORED = b""


@dataclass(slots=True)
class _Recent:
    at: float
    judgments: dict[bytes, bytes] = field(default_factory=dict)
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

    def get(self, key: Key, texts: Iterable[str]) -> dict[str, Judgment]:
        """Judgments by product text, of those texts for which one is remembered; their ``index`` is 0."""
        recent = self._fresh(key)
        if recent is None:
            return {}
        packed = ((text, recent.judgments.get(_hash(text))) for text in texts)
        return {text: _unpacked(judgment) for text, judgment in packed if judgment}

    def unscored(self, key: Key, texts: Iterable[str]) -> set[str]:
        """Those texts that there was no time to judge when the search was last judged."""
        recent = self._fresh(key)
        if recent is None:
            return set()
        return {text for text in texts if recent.judgments.get(_hash(text)) == _UNSCORED}

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

    def put(self, key: Key, judgments: Mapping[str, Judgment], unscored: Iterable[str] = ()) -> None:
        recent = self._fresh(key) or _Recent(0.0)
        recent.judgments.update((_hash(text), _packed(judgment)) for text, judgment in judgments.items())
        for text in unscored:
            recent.judgments.setdefault(_hash(text), _UNSCORED)
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


_FIGURES = struct.Struct("<6d?")


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _packed(judgment: Judgment) -> bytes:
    grades = judgment.grades
    figures = (grades.E, grades.S, grades.C, grades.I, judgment.score, judgment.irrelevance)
    return _FIGURES.pack(*figures, judgment.decision == "remove")


def _unpacked(judgment: bytes) -> Judgment:
    e, s, c, i, score, irrelevance, remove = _FIGURES.unpack(judgment)
    return Judgment(
        index=0,
        grades=GradeProbabilities(E=e, S=s, C=c, I=i),
        score=score,
        irrelevance=irrelevance,
        decision="remove" if remove else "keep",
    )
