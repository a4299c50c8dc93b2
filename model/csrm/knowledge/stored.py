"""Retrieval over a store that is somewhere else: it finds candidates, the rules here choose among them.

A store of millions of entries in a cluster is asked for some dozens that could be meant; what is found
literally, what is close enough and what fits the prompt is then judged just as in memory. Knows the shape of
a candidate; knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from csrm.errors import KnowledgeError
from csrm.knowledge.embedders import Embedder
from csrm.knowledge.entries import parse_entry
from csrm.knowledge.language import fit_queries
from csrm.knowledge.retriever import RetrievalSettings, Retrieved, Retriever
from csrm.knowledge.snapshot import EmbedderId, KnowledgeSnapshot

CANDIDATES = 60


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as a store keeps it: plain JSON, with the texts that it is found by and their vectors."""

    entry: Mapping[str, Any]
    texts: Sequence[str]
    vectors: Sequence[Sequence[float]]
    """One for each text, shape (texts, dimension)."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a store says of all that is in it."""

    version: str
    embedder: Mapping[str, Any]
    """Fields of `csrm.knowledge.snapshot.EmbedderId`."""
    texts: int


FindCandidates = Callable[[str, Sequence[float], int], Sequence[StoredEntry]]
"""(query, its vector, how many) -> what could be meant, in any order."""


def to_store(snapshot: KnowledgeSnapshot) -> Iterator[StoredEntry]:
    """The entries of a snapshot, one after the other."""
    for number, entry in enumerate(snapshot.entries):
        own = snapshot.vectors[snapshot.starts[number] : snapshot.starts[number + 1]]
        fields = {"kind": entry.kind, **entry.model_dump(mode="json", exclude_defaults=True)}
        yield StoredEntry(fields, entry.search_texts(), own.tolist())


def state_of(snapshot: KnowledgeSnapshot) -> StoreState:
    """What a store that holds this snapshot says of itself."""
    return StoreState(snapshot.version, snapshot.embedder.model_dump(), len(snapshot.vectors))


class StoredRetriever:
    """`Retriever` over a store's candidates; the same rules, floors and quotas."""

    def __init__(
        self,
        find: FindCandidates,
        state: StoreState,
        embedder: Embedder,
        settings: RetrievalSettings | None = None,
    ) -> None:
        """Raises: KnowledgeError: the store's vectors are of another embedding engine."""
        self.state = state
        self.settings = settings or RetrievalSettings()
        self._find, self._embedder, self._removal = find, embedder, fit_queries(embedder)
        self._identity = EmbedderId.model_validate(state.embedder)
        self._snapshot([]).require_embedder(embedder)

    def retrieve(self, query: str, locale: str | None = None, limit: int = 4) -> list[Retrieved]:
        """As `Retriever.retrieve`.

        Raises:
            KnowledgeError: a candidate is no entry, or its vectors do not fit it.
            Whatever the store raises.
        """
        return self.retrieve_many([query], [locale], limit)[0]

    def retrieve_many(
        self, queries: Sequence[str], locale: Sequence[str | None], limit: int = 4
    ) -> list[list[Retrieved]]:
        """As `Retriever.retrieve_many`; the queries are embedded together, and the store is asked for each.

        Raises: as `retrieve`.
        """
        found: list[list[Retrieved]] = [[] for _ in queries]
        asked = [number for number, query in enumerate(queries) if query.strip()]
        if not asked or limit < 1:
            return found
        vectors = self._removal(self._embedder.embed_queries([queries[number] for number in asked]))
        for number, vector in zip(asked, vectors, strict=True):
            stored = self._snapshot(self._find(queries[number], vector.tolist(), CANDIDATES))
            retriever = Retriever(stored, self._embedder, self.settings, texts=self.state.texts)
            found[number] = retriever.select(queries[number], vector, locale[number], limit)
        return found

    def _snapshot(self, candidates: Sequence[StoredEntry]) -> KnowledgeSnapshot:
        stored = sorted(candidates, key=lambda one: str(one.entry.get("id")))
        entries = [parse_entry(one.entry) for one in stored]
        for entry, one in zip(entries, stored, strict=True):
            if entry.search_texts() != list(one.texts) or len(one.texts) != len(one.vectors):
                raise KnowledgeError(
                    f"The vectors of the stored entry {entry.id!r} are old: publish it again."
                )
        vectors = [vector for one in stored for vector in one.vectors]
        return KnowledgeSnapshot(
            entries=entries,
            vectors=np.array(vectors, dtype=np.float32).reshape(-1, self._identity.dimension),
            starts=np.cumsum([0, *(len(one.texts) for one in stored)], dtype=np.int32),
            query_removal=self._removal,
            embedder=self._identity,
            version=self.state.version,
        )
