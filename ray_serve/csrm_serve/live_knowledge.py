"""A snapshot folder as a replica uses it: loaded, asked, and loaded anew when another snapshot takes its place.

Knows folders and retrieval; knows no Ray. Whoever calls `refresh` decides how often it looks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from csrm_serve.messages import Knowledge, PartState

if TYPE_CHECKING:
    from csrm.knowledge import Retrieved

HOT_QUERIES = 10_000
"""Queries whose knowledge is remembered: the head of a shop's traffic, about 1 kB each."""

Asked = tuple[str, str | None]
"""A query and the language of its shop."""

log = logging.getLogger("ray.serve.csrm")


class Finds(Protocol):
    """`csrm.knowledge.Retriever`, or one over a store."""

    def retrieve_many(
        self, queries: Sequence[str], locale: Sequence[str | None]
    ) -> list[list[Retrieved]]: ...


@dataclass(slots=True)
class Loaded:
    """One version; what is remembered of it goes with it."""

    version: str
    retriever: Finds
    hot: OrderedDict[Asked, Knowledge] = field(default_factory=OrderedDict)

    def remembered(self, asked: Asked) -> Knowledge | None:
        """What was found for a query before; null where nobody asked lately. Any thread may ask beside the one that
        retrieves."""
        try:
            self.hot.move_to_end(asked)
            return self.hot[asked]
        except KeyError:  # it may have to go between the two
            return None

    def retrieve_many(self, asked: Sequence[Asked]) -> list[Knowledge]:
        """What is known of each query, best first; those that are new are embedded together."""
        fresh = list(dict.fromkeys(one for one in asked if one not in self.hot))
        found = dict(zip(fresh, self._find(fresh), strict=True)) if fresh else {}
        answers = [self.hot[one] if one in self.hot else found[one] for one in asked]
        for one, answer in zip(asked, answers, strict=True):
            self.hot[one] = answer
            self.hot.move_to_end(one)
        while len(self.hot) > HOT_QUERIES:
            self.hot.popitem(last=False)
        return answers

    def _find(self, asked: Sequence[Asked]) -> list[Knowledge]:
        queries, locales = [query for query, _ in asked], [locale for _, locale in asked]
        return [
            Knowledge(
                self.version,
                [
                    {
                        "id": one.entry.id,
                        "kind": one.entry.kind,
                        "text": one.line,
                        "locale": one.entry.locale,
                        "similarity": float(one.similarity),
                    }
                    for one in found
                ],
            )
            for found in self.retriever.retrieve_many(queries, locales)
        ]


class LiveKnowledge:
    """Knowledge out of a folder. `retrieve_many` is for one thread at a time, `refresh` may run in another."""

    def __init__(self, folder: str | Path) -> None:
        """A folder that cannot be read yet is no error: `state` says why, and it may be better later."""
        self._folder = Path(folder)
        self._loaded: Loaded | None = None
        self._entries = 0
        self._fault: str | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Load what is in the folder now, if it is another version; searches go on with the old one meanwhile.

        Returns:
            Whether there is a new version. Where there should be and it cannot be read, the old one stays.
        """
        from csrm.knowledge import saved_version

        before = self._loaded
        try:
            if before is not None and saved_version(self._folder) == before.version:
                self._fault = None
                return False
            self._loaded, self._entries = _load(self._folder)
        except Exception as error:  # whatever it is, scoring goes on; the state and the log say why
            if str(error) != self._fault:
                log.exception("The knowledge in %s cannot be used", self._folder)
            self._fault = str(error)
            return False
        self._fault = None
        log.info("Knowledge %s is loaded.", self._loaded.version)
        return True

    def retrieve_many(self, asked: Sequence[Asked]) -> list[Knowledge]:
        """What is known of each query, best first; nothing where nothing is loaded."""
        loaded = self._loaded
        return loaded.retrieve_many(asked) if loaded else [Knowledge() for _ in asked]

    def remembered(self, asked: Asked) -> Knowledge | None:
        """As `Loaded.remembered`, of the version that is loaded."""
        return self._loaded.remembered(asked) if self._loaded else None

    def state(self) -> PartState:
        """Ready with any version; a fault beside it means that a newer one could not be read."""
        if self._loaded is None:
            return PartState(False, self._fault)
        details = {"knowledge_version": self._loaded.version, "entries": self._entries}
        return PartState(True, self._fault, details)


def _load(folder: Path) -> tuple[Loaded, int]:
    from csrm.knowledge import KnowledgeSnapshot, Retriever, load_embedder

    snapshot = KnowledgeSnapshot.load(folder)
    # One thread: an embedding engine's threads spin between calls and rob the scorer of its cores.
    retriever = Retriever(snapshot, load_embedder(snapshot.embedder.name, threads=1))
    retriever.retrieve("first query", "en")
    return Loaded(snapshot.version, retriever), len(snapshot.entries)
