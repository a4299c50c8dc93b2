"""A snapshot folder as a replica uses it: loaded, asked, and loaded anew when another snapshot takes its place.

Knows folders and retrieval; knows no Ray. Whoever calls `refresh` decides how often it looks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from csrm_serve.messages import Knowledge, PartState

if TYPE_CHECKING:
    from csrm.knowledge import Retriever

HOT_QUERIES = 10_000
"""Queries whose knowledge is remembered: the head of a shop's traffic, about 1 kB each."""

log = logging.getLogger("ray.serve.csrm")


@dataclass(slots=True)
class _Loaded:
    """One version; what is remembered of it goes with it."""

    retriever: Retriever
    hot: OrderedDict[tuple[str, str | None], Knowledge] = field(default_factory=OrderedDict)

    @property
    def version(self) -> str:
        return self.retriever.snapshot.version


class LiveKnowledge:
    """Knowledge out of a folder. `retrieve` is for one thread at a time, `refresh` may run in another."""

    def __init__(self, folder: str | Path) -> None:
        """A folder that cannot be read yet is no error: `state` says why, and it may be better later."""
        self._folder = Path(folder)
        self._loaded: _Loaded | None = None
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
            self._loaded = _load(self._folder)
        except Exception as error:  # whatever it is, scoring goes on; the state and the log say why
            if str(error) != self._fault:
                log.exception("The knowledge in %s cannot be used", self._folder)
            self._fault = str(error)
            return False
        self._fault = None
        log.info("Knowledge %s is loaded.", self._loaded.version)
        return True

    def retrieve(self, query: str, locale: str | None) -> Knowledge:
        """What is known of a query, best first; nothing where nothing is loaded."""
        loaded = self._loaded
        if loaded is None:
            return Knowledge()
        known = loaded.hot.get((query, locale))
        if known is None:
            known = _ask(loaded, query, locale)
            loaded.hot[query, locale] = known
            if len(loaded.hot) > HOT_QUERIES:
                loaded.hot.popitem(last=False)
        else:
            loaded.hot.move_to_end((query, locale))
        return known

    def state(self) -> PartState:
        """Ready with any version; a fault beside it means that a newer one could not be read."""
        if self._loaded is None:
            return PartState(False, self._fault)
        snapshot = self._loaded.retriever.snapshot
        details = {"knowledge_version": snapshot.version, "entries": len(snapshot.entries)}
        return PartState(True, self._fault, details)


def _load(folder: Path) -> _Loaded:
    from csrm.knowledge import KnowledgeSnapshot, Retriever, load_embedder

    snapshot = KnowledgeSnapshot.load(folder)
    # One thread: an embedding engine's threads spin between calls and rob the scorer of its cores.
    retriever = Retriever(snapshot, load_embedder(snapshot.embedder.name, threads=1))
    retriever.retrieve("first query", "en")
    return _Loaded(retriever)


def _ask(loaded: _Loaded, query: str, locale: str | None) -> Knowledge:
    entries = [
        {
            "id": one.entry.id,
            "kind": one.entry.kind,
            "text": one.line,
            "locale": one.entry.locale,
            "similarity": float(one.similarity),
        }
        for one in loaded.retriever.retrieve(query, locale)
    ]
    return Knowledge(loaded.version, entries)
