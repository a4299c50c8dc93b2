"""Compares spellings by their character n-grams: finds misspellings, and words in text without spaces.

Grams are pairs and triples within each word, with its edges marked, of the folded text. Two measures, since
the two uses differ:

    alike     how alike two whole texts are (cosine of their gram weights, rare grams count more)
    covered   how much of a stored spelling is somewhere in the query (share of its grams)

Grams that thousands of texts have tell nothing and cost most of the time: they count in neither.
Knows strings only: neither entries nor embedding vectors.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from csrm.knowledge.folding import fold

MAX_CHARS = 200
"""Beyond this, a query holds so many grams that it covers spellings by chance."""

MAX_TEXTS = 4_000
"""A gram in more texts than these is left out."""

Scores = npt.NDArray[np.float32]


class NgramIndex:
    """An inverted index of gram -> texts, built once, safe to share between threads."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        sizes = np.zeros(self._count, dtype=np.float32)
        for number, text in enumerate(texts):
            for gram, times in Counter(grams(text)).items():
                postings[gram].append((number, times))
        self._common = {gram for gram, found in postings.items() if len(found) > MAX_TEXTS}
        for gram in self._common:
            del postings[gram]
        norms = np.zeros(self._count, dtype=np.float64)
        self._postings: dict[str, tuple[npt.NDArray[np.int32], Scores, float]] = {}
        for gram, found in postings.items():
            rarity = 1.0 + math.log((1 + self._count) / (1 + len(found)))
            numbers = np.fromiter((number for number, _ in found), dtype=np.int32, count=len(found))
            weights = np.fromiter((rarity * times for _, times in found), dtype=np.float32, count=len(found))
            norms[numbers] += weights.astype(np.float64) ** 2
            sizes[numbers] += 1
            self._postings[gram] = (numbers, weights, rarity)
        self._norms = np.sqrt(np.maximum(norms, 1e-12)).astype(np.float32)
        self._sizes = cast(Scores, np.maximum(sizes, np.float32(1)))
        self._unseen_rarity = 1.0 + math.log(1 + self._count)

    def alike(self, query: str) -> Scores:
        """How alike every text and the query are as wholes, shape (texts,), each in [0, 1]."""
        dots = np.zeros(self._count, dtype=np.float32)
        query_norm = 0.0
        for gram, times in Counter(grams(query)).items():
            if gram in self._common:
                continue
            posting = self._postings.get(gram)
            if posting is None:
                query_norm += (times * self._unseen_rarity) ** 2
                continue
            numbers, weights, rarity = posting
            query_norm += (times * rarity) ** 2
            dots[numbers] += weights * np.float32(times * rarity)
        dots /= self._norms * np.float32(math.sqrt(query_norm) or 1.0)
        return np.minimum(dots, np.float32(1))

    def covered(self, query: str) -> Scores:
        """How much of every text is somewhere in the query, shape (texts,), each in [0, 1]."""
        shared = np.zeros(self._count, dtype=np.float32)
        for gram in set(grams(query)):
            posting = self._postings.get(gram)
            if posting is not None:
                shared[posting[0]] += 1
        shared /= self._sizes
        return shared


def grams(text: str) -> list[str]:
    """The grams of a text's first ``MAX_CHARS`` characters, each as often as it stands there."""
    found: list[str] = []
    for word in fold(text)[:MAX_CHARS].split():
        marked = f"\x02{word}\x03"
        for size in (2, 3):
            found += [marked[i : i + size] for i in range(len(marked) - size + 1)]
    return found
