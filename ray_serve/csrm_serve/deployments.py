"""The deployments: Scorer (a model) and Retriever (its knowledge), one of each a bundle, and Ingress (HTTP).

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

from csrm.errors import BundleError, InputError
from csrm.scoring.cache import GradeCache
from csrm_serve.access import read_keys
from csrm_serve.api import create_api
from csrm_serve.door import Address, Door
from csrm_serve.gathering import Gathering
from csrm_serve.handles import RetrieverHandle, ScorerHandle
from csrm_serve.live_knowledge import LiveKnowledge
from csrm_serve.live_model import LiveModel
from csrm_serve.messages import Knowledge, PartState, Scored, ScoringJob
from csrm_serve.metrics import (
    depth_counter,
    engine_gauge,
    lookup_counter,
    product_counter,
    shared_counter,
    stage_observer,
)
from csrm_serve.models import Models
from csrm_serve.service import RelevanceService
from csrm_serve.settings import ServeSettings
from csrm_serve.shared_cache import SharedCache
from csrm_serve.stored_knowledge import OPENSEARCH, StoredKnowledge, open_store

STUCK_S = 300.0
"""A batch that runs longer than this means a replica that will not recover; slow machines stay below."""

log = logging.getLogger("ray.serve.csrm")


class Scorer:
    """A replica with one model. It exists only once the model has judged a query."""

    def __init__(self, settings: ServeSettings) -> None:
        assigned = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
        threads = max(1, int(assigned.get("CPU", settings.threads)))
        shared = _shared_cache(settings)
        self._live = LiveModel(settings, threads, observe=stage_observer(), shared=shared)
        self._refreshing: asyncio.Task[bool] | None = None
        self._counted: tuple[GradeCache, int, int] = (self._live.model.cache, 0, 0)
        self._count_lookups = lookup_counter()
        self._count = product_counter()
        self._count_depth = depth_counter()
        self._tell_engine = engine_gauge()
        self._say_engine()

    async def judge(self, job: ScoringJob) -> Scored:
        scored = await self._live.judge(job)
        # Once the answer is on its way: Ray's counters take a good part of a millisecond.
        asyncio.get_running_loop().call_soon(self._count_all, len(job.products), scored)
        return scored

    def _count_all(self, products: int, scored: Scored) -> None:
        self._count_cache()
        removed = sum(judgment["decision"] == "remove" for judgment in scored.results)
        self._count("remove", removed)
        self._count("keep", len(scored.results) - removed)
        self._count("unscored", products - len(scored.results))
        self._count_depth("all", scored.all_layers)
        self._count_depth("first", len(scored.results) - scored.all_layers)

    def _say_engine(self) -> None:
        model = self._live.model
        self._tell_engine(model.engine_name, model.precision, model.warning is not None)

    def _count_cache(self) -> None:
        cache, hits, misses = self._counted
        if cache is not self._live.model.cache:  # another model, with a cache of its own
            cache, hits, misses = self._live.model.cache, 0, 0
        self._count_lookups("hit", cache.hits - hits)
        self._count_lookups("miss", cache.misses - misses)
        self._counted = (cache, cache.hits, cache.misses)

    async def state(self) -> PartState:
        return PartState(True, self._live.fault, self._live.queue.describe())

    async def check_health(self) -> None:
        """Asked by Serve every ten seconds: the time to see whether another bundle was put into the folder, and to
        give back memory.

        A replica that raises is replaced.
        """
        if self._live.queue.busy_s() > STUCK_S:
            raise RuntimeError(f"One batch has been scored for over {STUCK_S:.0f} s.")
        self._say_engine()
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(asyncio.to_thread(self._look_around))

    def _look_around(self) -> bool:
        self._live.rest()
        return self._live.refresh()


def _shared_cache(settings: ServeSettings) -> SharedCache | None:
    if settings.shared_cache is None:
        return None
    return SharedCache(
        settings.shared_cache,
        password_file=settings.shared_cache_password_file,
        prefix=settings.shared_cache_prefix,
        ttl_s=settings.shared_cache_ttl_s,
        timeout_ms=settings.shared_cache_timeout_ms,
        count=shared_counter(),
    )


class Retriever:
    """Knowledge: of OpenSearch, of the snapshot of the settings, or the bundle's. Without any, or when it cannot
    be read, it stays up and finds nothing."""

    def __init__(self, settings: ServeSettings) -> None:
        from csrm.bundle import load_bundle

        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="retriever")
        self._live: LiveKnowledge | StoredKnowledge | None = None
        self._none = PartState(False, "The bundle has no knowledge.")
        try:
            folder = settings.knowledge or load_bundle(settings.bundle).knowledge_path
            self._live = LiveKnowledge(folder) if folder else None
        except BundleError as error:  # the scorer, which cannot do without the bundle, is the one to fail
            self._none = PartState(False, str(error))
        if settings.knowledge_opensearch is not None:
            store = open_store(OPENSEARCH, settings.knowledge_opensearch, settings.knowledge_login)
            self._live = StoredKnowledge(store, instead=self._live)
        self._gathering = Gathering(self._live.retrieve_many, self._worker) if self._live else None

    async def retrieve(self, query: str, locale: str | None) -> Knowledge:
        if self._live is None or self._gathering is None:
            return Knowledge()
        known = self._live.remembered((query, locale))  # waits for no new query to be embedded
        return known or await self._gathering.ask((query, locale))

    async def state(self) -> PartState:
        return self._live.state() if self._live else self._none

    async def check_health(self) -> None:
        """Asked by Serve every ten seconds: the time to see whether there is another version of knowledge."""
        if self._live is not None:
            await asyncio.to_thread(self._live.refresh)


class Ingress:
    """The HTTP API over the handles of the others.

    Args:
        parts: by bundle, the handles of its scorer and of its retriever; the first bundle is the one that is meant
            where a request names no model.
        settings: of the application.
        listen: where to listen; null leaves that to Serve's proxies.
    """

    def __init__(
        self,
        parts: dict[str, tuple[DeploymentHandle[Any], DeploymentHandle[Any]]],
        settings: ServeSettings,
        listen: Address | None = None,
    ) -> None:
        observe = stage_observer()
        self._models = Models(
            {
                bundle: RelevanceService(
                    ScorerHandle(scorer),
                    RetrieverHandle(retriever),
                    default_deadline_ms=settings.default_deadline_ms,
                    knowledge_budget_ms=settings.knowledge_budget_ms,
                    observe=observe,
                )
                for bundle, (scorer, retriever) in parts.items()
            },
            settings.shares,
        )
        self._keys = read_keys(settings.api_keys) if settings.api_keys else None
        self._settings = settings
        self._listen = listen
        self._door: Door | None = None

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve with the deployment's ``user_config``, also where only that has changed: no restart.

        Raises:
            InputError: anything but ``shares``, or wrong ones; those before stay.
        """
        if unknown := sorted(user_config.keys() - {"shares"}):
            raise InputError(f"user_config: {unknown[0]} is unknown; shares is all that can be changed.")
        self._models.share(user_config.get("shares", {}))

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(
            self._models,
            max_body_bytes=self._settings.max_body_mb * 2**20,
            max_bytes_under_way=self._settings.max_bodies_mb * 2**20,
            keys=self._keys,
            max_requests_per_key=self._settings.max_requests_per_key,
        )
        if self._listen is not None:
            self._door = Door(api, self._listen)
        return api

    async def check_health(self) -> None:
        """Asked by Serve every ten seconds. A replica that raises is replaced."""
        if self._door is not None:
            self._door.check()
