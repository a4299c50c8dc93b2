"""Knowledge out of a store that all replicas share, and out of a snapshot for as long as the store cannot be used.

The store is opened by a name, ``module:function``, so that this package knows none. Knows retrieval; knows no Ray.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from csrm_serve.live_knowledge import Asked, LiveKnowledge, Loaded
from csrm_serve.messages import Knowledge, PartState

if TYPE_CHECKING:
    from csrm.knowledge.stored import StoredEntry, StoreState

OPENSEARCH = "csrm_cli.opensearch_knowledge:OpenSearchStore"

log = logging.getLogger("ray.serve.csrm")


class Store(Protocol):
    """What is needed of a store. Any method may raise anything."""

    def state(self) -> StoreState:
        """What is in it now."""

    def find(self, query: str, vector: Sequence[float], size: int) -> Sequence[StoredEntry]:
        """What could be meant by a query, in any order."""


def open_store(name: str, url: str, login: str | None) -> Store:
    """The store that ``module:function`` opens. Raises: whatever it raises."""
    module, _, function = name.partition(":")
    return cast(Store, getattr(import_module(module), function)(url, login))


class StoredKnowledge:
    """Knowledge out of a store. `retrieve_many` is for one thread at a time, `refresh` may run in another."""

    def __init__(self, store: Store, instead: LiveKnowledge | None) -> None:
        """A store that cannot be used yet is no error: `state` says why.

        Args:
            store: what is asked.
            instead: asked for as long as the store cannot be used; nothing is found then if None.
        """
        self._store, self._instead = store, instead
        self._loaded: Loaded | None = None
        self._fault: str | None = None
        self.refresh()

    def refresh(self) -> bool:
        """See what is in the store now. One that went away is asked on: it may be back at the next query.

        Returns:
            Whether there is another version.
        """
        if self._loaded is None and self._instead is not None:
            self._instead.refresh()
        try:
            state = self._store.state()
            if self._loaded is not None and self._loaded.version == state.version:
                self._fault = None
                return False
            self._loaded = _loaded(self._store, state)
        except Exception as error:  # whatever it is, scoring goes on; the state and the log say why
            if str(error) != self._fault:
                log.warning("The knowledge in OpenSearch cannot be used: %s", error)
            self._fault = str(error)
            return False
        self._fault = None
        log.info("Knowledge %s in OpenSearch is asked.", self._loaded.version)
        return True

    def retrieve_many(self, asked: Sequence[Asked]) -> list[Knowledge]:
        """As `LiveKnowledge.retrieve_many`. Raises: whatever the store raises."""
        if self._loaded is not None:
            return self._loaded.retrieve_many(asked)
        return self._instead.retrieve_many(asked) if self._instead else [Knowledge() for _ in asked]

    def remembered(self, asked: Asked) -> Knowledge | None:
        """As `LiveKnowledge.remembered`."""
        where = self._loaded or self._instead
        return where.remembered(asked) if where else None

    def state(self) -> PartState:
        """Ready with the store or with what stands in for it; the fault says that the store cannot be used."""
        if self._loaded is not None:
            return PartState(
                True, self._fault, {"knowledge_version": self._loaded.version, "in": "OpenSearch"}
            )
        if self._instead is None:
            return PartState(False, self._fault)
        instead = self._instead.state()
        return PartState(instead.ready, self._fault, instead.details)


def _loaded(store: Store, state: StoreState) -> Loaded:
    from csrm.knowledge import load_embedder
    from csrm.knowledge.stored import StoredRetriever

    retriever = StoredRetriever(store.find, state, load_embedder(str(state.embedder["name"]), threads=1))
    return Loaded(state.version, retriever)
