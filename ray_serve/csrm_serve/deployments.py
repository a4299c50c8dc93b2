"""The three deployments: Scorer (the model), Retriever (knowledge) and Ingress (HTTP).

Each is a thin shell: it loads what it needs and hands requests to a part that knows no Ray. Their options
(replicas, cores, queues) are in `csrm_serve.app`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from csrm_serve.api import create_api
from csrm_serve.handles import RetrieverHandle, ScorerHandle
from csrm_serve.messages import Knowledge, PartState, Scored, ScoringJob
from csrm_serve.metrics import lookup_counter, product_counter, stage_observer
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.service import RelevanceService
from csrm_serve.settings import ServeSettings

STUCK_S = 300.0
"""A job that runs longer than this means a replica that will not recover; slow machines stay below."""

log = logging.getLogger("ray.serve.csrm")


class Scorer:
    """A replica with one model. It exists only once the model has judged a query."""

    def __init__(self, settings: ServeSettings) -> None:
        from csrm.model import RelevanceModel

        assigned = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
        threads = max(1, int(assigned.get("CPU", settings.threads)))
        model = RelevanceModel.load(
            settings.bundle,
            base=settings.base,
            precision=settings.precision,
            threads=threads,
            cache_mb=settings.cache_mb,
        )
        self._cache = model.cache
        self._counted = (0, 0)
        self._count_lookups = lookup_counter()
        self._queue = ScoringQueue(model, observe=stage_observer())
        self._count = product_counter()
        log.info(
            "%s scores with %s in %s on %d threads.", model.name, model.engine_name, model.precision, threads
        )
        if model.warning:
            log.warning(model.warning)

    async def judge(self, job: ScoringJob) -> Scored:
        scored = await self._queue.run(job)
        self._count_cache()
        removed = sum(judgment["decision"] == "remove" for judgment in scored.results)
        self._count("remove", removed)
        self._count("keep", len(scored.results) - removed)
        return scored

    def _count_cache(self) -> None:
        hits, misses = self._cache.hits, self._cache.misses
        self._count_lookups("hit", hits - self._counted[0])
        self._count_lookups("miss", misses - self._counted[1])
        self._counted = (hits, misses)

    async def state(self) -> PartState:
        return PartState(True, details=self._queue.describe())

    async def check_health(self) -> None:
        """Asked by Serve; a replica that raises is replaced."""
        if self._queue.busy_s() > STUCK_S:
            raise RuntimeError(f"One query has been scored for over {STUCK_S:.0f} s.")


class Retriever:
    """Knowledge: the bundle's, or the snapshot of the settings. Without any, or when it cannot be read, it
    stays up and finds nothing."""

    def __init__(self, settings: ServeSettings) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="retriever")
        self._retriever: Any = None
        self._state = PartState(False, "The bundle has no knowledge.")
        try:
            self._load(settings)
        except Exception as error:  # scoring goes on without knowledge; the state and the log say why
            self._state = PartState(False, str(error))
            log.exception(
                "Knowledge (%s) cannot be used", settings.knowledge or f"of bundle {settings.bundle}"
            )

    def _load(self, settings: ServeSettings) -> None:
        from csrm.bundle import load_bundle
        from csrm.knowledge import KnowledgeSnapshot, load_embedder
        from csrm.knowledge import Retriever as KnowledgeRetriever

        folder = settings.knowledge or load_bundle(settings.bundle).knowledge_path
        if folder is None:
            return
        snapshot = KnowledgeSnapshot.load(folder)
        # One thread: an embedding engine's threads spin between calls and rob the scorer of its cores.
        self._retriever = KnowledgeRetriever(snapshot, load_embedder(snapshot.embedder.name, threads=1))
        self._retriever.retrieve("first query", "en")
        self._state = PartState(
            True, details={"knowledge_version": snapshot.version, "entries": len(snapshot.entries)}
        )

    async def retrieve(self, query: str, locale: str | None) -> Knowledge:
        if self._retriever is None:
            return Knowledge()
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._retrieve, query, locale)

    def _retrieve(self, query: str, locale: str | None) -> Knowledge:
        found = self._retriever.retrieve(query, locale)
        entries = [
            {
                "id": one.entry.id,
                "kind": one.entry.kind,
                "text": one.line,
                "locale": one.entry.locale,
                "similarity": float(one.similarity),
            }
            for one in found
        ]
        return Knowledge(self._retriever.snapshot.version, entries)

    async def state(self) -> PartState:
        return self._state


class Ingress:
    """The HTTP API over the handles of the other two."""

    def __init__(
        self, scorer: DeploymentHandle[Any], retriever: DeploymentHandle[Any], settings: ServeSettings
    ) -> None:
        self._service = RelevanceService(
            ScorerHandle(scorer),
            RetrieverHandle(retriever),
            default_deadline_ms=settings.default_deadline_ms,
            knowledge_budget_ms=settings.knowledge_budget_ms,
            observe=stage_observer(),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._service)
