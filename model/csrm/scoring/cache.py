"""Grades that were computed before: the same question and the same product text have the same grades.

Exact and in memory: keys are hashes of everything that decides the grades, so nothing is ever stale for the model
that the cache belongs to. Knows no model, no prompt and no calibration.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Question = Sequence[str | None]
"""All that decides grades beside the product: depth, query, locale, lines of knowledge."""

ENTRY_BYTES = 256
"""What one product takes: a key of 16 bytes, grades of 16, and Python's and the dictionary's own, rounded up."""


class GradeCache:
    """The least recently used entries go first when the bytes are used up. Thread-safe.

    Args:
        max_bytes: memory for entries; 0 keeps nothing.

    Attributes:
        told: called with keys and grades as they are computed, in the thread that computes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes // ENTRY_BYTES
        self._grades: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.told: Callable[[Sequence[bytes], NDArray[np.float32]], None] | None = None
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._grades)

    def find(
        self, question: Question, products: Sequence[str], out: NDArray[np.float32]
    ) -> tuple[list[int], list[bytes]]:
        """Fill in what is known.

        Args:
            question: all that decides grades beside the product.
            products: product texts.
            out: probabilities (n, 4); the rows of known products are written.

        Returns:
            The places of products whose grades are not known, and their keys for `keep`.
        """
        unknown, keys = [], []
        with self._lock:
            for place, key in enumerate(_keys(question, products)):
                if (row := self._grades.get(key)) is None:
                    unknown.append(place)
                    keys.append(key)
                else:
                    self._grades.move_to_end(key)
                    out[place] = np.frombuffer(row, dtype=np.float32)
        return unknown, keys

    def unknown(self, question: Question, products: Sequence[str]) -> list[bytes]:
        """The keys of products whose grades are not known."""
        with self._lock:
            return [key for key in _keys(question, products) if key not in self._grades]

    def count(self, hits: int, misses: int) -> None:
        """Count products whose grades were remembered, and those whose grades must be computed."""
        with self._lock:
            self.hits += hits
            self.misses += misses

    def keep(self, keys: Sequence[bytes], grades: NDArray[np.float32]) -> None:
        """Remember grades (n, 4) that were computed, under the keys that `find` gave."""
        self.remember(keys, grades)
        if self.told is not None and len(keys):
            self.told(keys, grades)

    def remember(self, keys: Sequence[bytes], grades: NDArray[np.float32]) -> None:
        """Remember grades (n, 4) that another replica computed."""
        with self._lock:
            for key, row in zip(keys, grades, strict=True):
                self._grades[key] = row.tobytes()
            while len(self._grades) > self._most:
                self._grades.popitem(last=False)


def _keys(question: Question, products: Sequence[str]) -> Iterator[bytes]:
    """16 bytes for each product."""
    head = hashlib.blake2b(digest_size=16)
    for part in question:
        raw = b"\xff" if part is None else part.encode("utf-8", "surrogatepass")
        head.update(len(raw).to_bytes(4, "little") + raw)  # lengths, so that no two questions run together
    for product in products:
        own = head.copy()
        own.update(product.encode("utf-8", "surrogatepass"))
        yield own.digest()
