"""Compares spellings by their character n-grams: finds misspellings, and words in text without spaces.

Grams are pairs and triples within each word, with its edges marked, of the folded text. Two measures, since
the two uses differ:

    alike     how alike two whole texts are (cosine of their gram weights, rare grams count more)
    covered   how much of a stored spelling is somewhere in the query (share of its grams)

Knows strings only: neither entries nor embedding vectors.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from csrm.knowledge.folding import fold

MAX_CHARS = 200
"""Beyond this, a query holds so many grams that it covers spellings by chance."""

Scores = npt.NDArray[np.float32]


class NgramIndex:
    """An inverted index of gram -> texts, built once, safe to share between threads."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        sizes = np.ones(self._count, dtype=np.float32)
        for number, text in enumerate(texts):
            counted = Counter(grams(text))
            sizes[number] = max(len(counted), 1)
            for gram, times in counted.items():
                postings[gram].append((number, times))
        norms = np.zeros(self._count, dtype=np.float64)
        self._postings: dict[str, tuple[npt.NDArray[np.int32], Scores, float]] = {}
        for gram, found in postings.items():
            rarity = 1.0 + math.log((1 + self._count) / (1 + len(found)))
            numbers = np.fromiter((number for number, _ in found), dtype=np.int32, count=len(found))
            weights = np.fromiter((rarity * times for _, times in found), dtype=np.float32, count=len(found))
            norms[numbers] += weights.astype(np.float64) ** 2
            self._postings[gram] = (numbers, weights, rarity)
        self._norms = np.sqrt(np.maximum(norms, 1e-12)).astype(np.float32)
        self._sizes = sizes
        self._unseen_rarity = 1.0 + math.log(1 + self._count)

    def compare(self, query: str) -> tuple[Scores, Scores]:
        """(alike, covered) of every text with the query, each of shape (texts,), each in [0, 1]."""
        dots = np.zeros(self._count, dtype=np.float32)
        shared = np.zeros(self._count, dtype=np.float32)
        query_norm = 0.0
        for gram, times in Counter(grams(query)).items():
            posting = self._postings.get(gram)
            if posting is None:
                query_norm += (times * self._unseen_rarity) ** 2
                continue
            numbers, weights, rarity = posting
            query_norm += (times * rarity) ** 2
            dots[numbers] += weights * np.float32(times * rarity)
            shared[numbers] += 1
        alike = dots / (self._norms * np.float32(math.sqrt(query_norm) or 1.0))
        return np.minimum(alike, 1.0), shared / self._sizes


def grams(text: str) -> list[str]:
    """The grams of a text's first ``MAX_CHARS`` characters, each as often as it stands there."""
    found: list[str] = []
    for word in fold(text)[:MAX_CHARS].split():
        marked = f"\x02{word}\x03"
        for size in (2, 3):
            found += [marked[i : i + size] for i in range(len(marked) - size + 1)]
    return found
