"""What a gateway with some settings is made of. A reload makes it anew; the old one ends its searches first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager

from csrm_opensearch.gateway.metrics import Metrics
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.records import Records, Watch
from csrm_opensearch.profiles import GatewaySettings, Profile
from csrm_opensearch.recent import RecentJudgments
from csrm_opensearch.relevance_client import RelevanceClient
from csrm_opensearch.rerank import Reranker

log = logging.getLogger(__name__)


class Parts:
    """Connections and rules of one set of settings: ``open``, then ``used`` by each request, then ``close``.

    Raises:
        ProfileError: the certificate files or the key of the settings cannot be used.
    """

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.nodes = Nodes(settings.opensearch)
        self.relevance = RelevanceClient(settings.relevance)
        self.reranker = Reranker(self.relevance, RecentJudgments())
        self.records = Records(settings.records)
        self._stack = AsyncExitStack()
        self._users = 0
        self._unused = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._stack.callback(self.records.close)
        await self._stack.enter_async_context(self.nodes)
        await self._stack.enter_async_context(self.relevance)
        self.in_background(self._say_what_is_wrong())

    async def _say_what_is_wrong(self) -> None:
        """Log why the relevance service would refuse our searches, where it is there to say so."""
        if reason := (await self.relevance.ready(self.settings.models)).reason:
            log.warning("searches will not be reranked: %s", reason)

    async def close(self) -> None:
        """Close once nobody uses it any more."""
        while self._users:
            self._unused.clear()
            await self._unused.wait()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._stack.aclose()

    @contextmanager
    def used(self) -> Iterator[Parts]:
        """Keep it open for a request."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def watch(self, index: str, profile: Profile | None) -> Watch:
        """Begin to watch a search."""
        self.metrics.breaker(self.relevance.breaker_state)
        return Watch(self.metrics, self.records, index, profile.name if profile else "")

    def in_background(self, work: Coroutine[object, object, None]) -> None:
        """Do some work for which nobody waits."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work in the background failed", exc_info=error)
