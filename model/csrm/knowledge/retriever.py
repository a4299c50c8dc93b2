"""Finds the few knowledge entries that help to understand a query, or none: none is better than a wrong one.

Three ways of finding, in falling order of trust:

    literal  a term's spelling stands in the query, or a past query is the same text
    dense    the meanings are close, in whatever languages (cosine of language-free vectors)
    lexical  the spellings are close (character n-grams): misspellings, text without spaces

What is found literally comes first; the rest is fused by reciprocal rank (Cormack et al. 2009). An entry
found in no way above its floor is not returned. In memory, exact search; knows no prompt and no product.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import numpy as np
import numpy.typing as npt

from csrm.knowledge.embedders import Embedder, Vectors
from csrm.knowledge.entries import CategoryEntry, Kind, QueryEntry, TermEntry
from csrm.knowledge.folding import Script, fold, script
from csrm.knowledge.literal import SpellingFinder
from csrm.knowledge.ngrams import NgramIndex
from csrm.knowledge.snapshot import KnowledgeSnapshot

Scores = npt.NDArray[np.float32]

_RANK_CONSTANT = 20
"""Of the reciprocal rank: 60 is for lists of a thousand, these have at most `_CANDIDATES`."""
_CANDIDATES = 32
_OTHER_LANGUAGE = 0.8
"""An entry in another language than the shop's counts a little less than one found equally well in it."""
_BLOCK = 256
"""Queries compared at once in `retrieve_many`: bounds the memory of the similarity matrix."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """Floors and quotas of a retriever."""

    dense_floor: float = 0.45
    """Least cosine of meanings."""
    alike_floor: float = 0.55
    """Least likeness of two spellings as wholes, for queries and categories."""
    covered_floor: float = 0.72
    """Least share of a term's spelling that is in the query."""
    max_per_kind: Mapping[Kind, int] = field(
        default_factory=lambda: MappingProxyType({"term": 3, "query": 2, "category": 1})
    )
    max_chars: int = 240
    """Budget of all prompt lines of a query together; they cost prompt tokens."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """An entry that was found for a query."""

    entry: QueryEntry | TermEntry | CategoryEntry
    similarity: float
    """Cosine of the meanings in [-1, 1], near 0 for unrelated ones; 1.0 where it was found literally."""
    line: str
    """What the prompt gets. For a term it starts with the spelling that the shopper used."""


class Retriever:
    """Retrieval over one snapshot. Never changes after it is made, so threads may share it."""

    def __init__(
        self, snapshot: KnowledgeSnapshot, embedder: Embedder, settings: RetrievalSettings | None = None
    ) -> None:
        """Raises: KnowledgeError: the snapshot was made by another embedding engine."""
        snapshot.require_embedder(embedder)
        self.snapshot = snapshot
        self.settings = settings or RetrievalSettings()
        self._embedder = embedder
        entries = snapshot.entries
        spellings = [(number, text) for number, entry in enumerate(entries) for text in _spellings(entry)]
        self._finder = SpellingFinder(
            (number, text) for number, text in spellings if isinstance(entries[number], TermEntry)
        )
        self._same_query: dict[str, list[int]] = {}
        for number, entry in enumerate(entries):
            if isinstance(entry, QueryEntry):
                self._same_query.setdefault(fold(entry.query), []).append(number)
        self._ngrams = NgramIndex([text for _, text in spellings])
        self._spelling_starts = np.searchsorted(
            np.array([number for number, _ in spellings], dtype=np.int32), np.arange(len(entries))
        )
        self._is_term = np.array([entry.kind == "term" for entry in entries], dtype=bool)
        # Two letters match anything: grams are compared only from five characters on (three in CJK).
        self._too_short = np.array([_too_short(text) for _, text in spellings], dtype=bool)

    def retrieve(self, query: str, locale: str | None = None, limit: int = 4) -> list[Retrieved]:
        """The entries that say most of the query, best first; often none.

        Args:
            query: what the shopper typed; a blank one finds nothing.
            locale: the shop's language, which breaks ties and picks the language of category paths.
            limit: at most so many entries, further bounded by the quotas and the budget of the settings.
        """
        return self.retrieve_many([query], locale, limit)[0]

    def retrieve_many(
        self,
        queries: Sequence[str],
        locale: str | Sequence[str | None] | None = None,
        limit: int = 4,
        *,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> list[list[Retrieved]]:
        """`retrieve` for many queries; equal queries are embedded once.

        Args:
            queries: any number.
            locale: one for all, or one for each query.
            limit: per query.
            exclude: for each query the ids of entries it must not find, such as the one made from itself.

        Returns:
            One list for each query, in their order.
        """
        if locale is None or isinstance(locale, str):
            locale = [locale] * len(queries)
        hidden: Sequence[Collection[str]] = [()] * len(queries) if exclude is None else exclude
        if len(locale) != len(queries) or len(hidden) != len(queries):
            raise ValueError("locale and exclude need one item for each query")
        found: list[list[Retrieved]] = [[] for _ in queries]
        asked = [number for number, query in enumerate(queries) if query.strip()]
        if not self.snapshot.entries or limit < 1:
            return found
        vectors, row = self._embed([queries[number] for number in asked])
        for begin in range(0, len(asked), _BLOCK):
            block = asked[begin : begin + _BLOCK]
            cosines = self._cosines(vectors[row[begin : begin + _BLOCK]])
            for number, own in zip(block, cosines, strict=True):
                found[number] = self._select(queries[number], locale[number], limit, own, hidden[number])
        return found

    def _embed(self, queries: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.int64]]:
        distinct = {query: number for number, query in enumerate(dict.fromkeys(queries))}
        vectors = self.snapshot.query_removal(self._embedder.embed_queries(list(distinct)))
        return vectors, np.array([distinct[query] for query in queries], dtype=np.int64)

    def _cosines(self, vectors: Vectors) -> Scores:
        """Best cosine of each entry's texts, shape (queries, entries); rounded, so that equal is equal."""
        every = vectors @ self.snapshot.vectors.T
        best: Scores = np.maximum.reduceat(every, self.snapshot.starts[:-1], axis=1)
        return np.round(best, 4)

    def _select(
        self, query: str, locale: str | None, limit: int, cosines: Scores, hidden: Collection[str]
    ) -> list[Retrieved]:
        entries = self.snapshot.entries
        literal = self._literal(query, locale)
        order = [
            *literal,
            *(number for number in self._fused(query, locale, cosines, hidden) if number not in literal),
        ]
        left = dict(self.settings.max_per_kind)
        room = self.settings.max_chars
        chosen: list[Retrieved] = []
        lines: set[str] = set()
        for number in order:
            entry = entries[number]
            if len(chosen) == limit:
                break
            if entry.id in hidden or left.get(entry.kind, 0) < 1:
                continue
            line = (
                entry.prompt_line(locale, literal.get(number))
                if isinstance(entry, TermEntry)
                else entry.prompt_line(locale)
            )
            if len(line) > room or line in lines:
                continue
            left[entry.kind] -= 1
            room -= len(line)
            lines.add(line)
            similarity = 1.0 if number in literal else float(cosines[number])
            chosen.append(Retrieved(entry, similarity, line))
        return chosen

    def _literal(self, query: str, locale: str | None) -> dict[int, str]:
        """Entries that stand in the query: number -> spelling as the entry has it; best first."""
        entries = self.snapshot.entries
        found = [
            (-occurrence.length, occurrence.start, occurrence.owner, occurrence.spelling)
            for occurrence in self._finder.find(query)
            if not _false_friend(entries[occurrence.owner].locale, locale, occurrence.spelling)
        ]
        whole = fold(query)
        found += [(-len(whole), 0, number, query) for number in self._same_query.get(whole, ())]

        def rank(item: tuple[int, int, int, str]) -> tuple[int, int, float, str]:
            length, start, number, _ = item
            entry = entries[number]
            return length, start, -entry.weight * _locale_factor(entry.locale, locale), entry.id

        ranked: dict[int, str] = {}
        for _, _, number, spelling in sorted(found, key=rank):
            ranked.setdefault(number, spelling)
        return ranked

    def _fused(self, query: str, locale: str | None, cosines: Scores, hidden: Collection[str]) -> list[int]:
        """Entries above a floor, by the sum of their reciprocal ranks."""
        entries = self.snapshot.entries
        lexical = self._lexical(query)
        points: dict[int, float] = {}
        for scores, floor in ((cosines, self.settings.dense_floor), (lexical, 1e-6)):
            passing = np.flatnonzero(scores >= floor)
            if hidden:
                shown = [entries[number].id not in hidden for number in passing.tolist()]
                passing = passing[np.array(shown, dtype=bool)]
            passing = passing[np.argsort(-scores[passing], kind="stable")][:_CANDIDATES]
            for rank, number in enumerate(passing.tolist()):
                points[number] = points.get(number, 0.0) + 1 / (_RANK_CONSTANT + rank)
        return sorted(
            points,
            key=lambda number: (
                -points[number] * entries[number].weight * _locale_factor(entries[number].locale, locale),
                entries[number].id,
            ),
        )

    def _lexical(self, query: str) -> Scores:
        """How close an entry's spellings are to the query, shape (entries,); 0 below its kind's floor."""
        alike, covered = self._ngrams.compare(query)
        covered[self._too_short] = 0
        terms = np.maximum.reduceat(covered, self._spelling_starts)
        others = np.maximum.reduceat(alike, self._spelling_starts)
        terms[terms < self.settings.covered_floor] = 0
        others[others < self.settings.alike_floor] = 0
        return cast(Scores, np.round(np.where(self._is_term, terms, others), 4))


def _spellings(entry: QueryEntry | TermEntry | CategoryEntry) -> list[str]:
    return entry.spellings() if isinstance(entry, TermEntry) else entry.search_texts()


def _too_short(spelling: str) -> bool:
    folded = fold(spelling)
    wide = any(script(char) in (Script.HAN, Script.KANA, Script.HANGUL) for char in folded)
    return len(folded) < (3 if wide else 5)


def _language(locale: str | None) -> str | None:
    return locale.split("-")[0].lower() if locale else None


def _locale_factor(entry: str | None, shop: str | None) -> float:
    same = entry is None or shop is None or _language(entry) == _language(shop)
    return 1.0 if same else _OTHER_LANGUAGE


def _false_friend(entry: str | None, shop: str | None, spelling: str) -> bool:
    """Chinese and Japanese share characters, not meanings: 手紙 is a letter in Japan, tissue in Taiwan."""
    return _locale_factor(entry, shop) < 1 and all(script(char) is Script.HAN for char in fold(spelling))
