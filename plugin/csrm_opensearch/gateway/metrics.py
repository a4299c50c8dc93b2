"""The gateway's Prometheus metrics. Knows what became of searches; knows no search's inside."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from csrm_opensearch.breaker import State
from csrm_opensearch.status import Status, Variant

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable: the folder through which several processes add up their metrics."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0)
_STATES: dict[State, int] = {"closed": 0, "probing": 1, "open": 2}


class Metrics:
    """Lives as long as the gateway, whatever settings it gets."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "csrm_requests", "Requests to the gateway, searches and others", registry=registry
        )
        self._searches = Counter(
            "csrm_searches",
            "Searches on indices with a profile, by what became of them",
            ["profile", "outcome", "reason", "variant"],
            registry=registry,
        )
        self._judged = Counter(
            "csrm_products_judged", "Products in judged windows", ["profile", "outcome"], registry=registry
        )
        self._removed = Counter(
            "csrm_products_removed", "Products removed", ["profile", "outcome"], registry=registry
        )
        self._unscored = Counter(
            "csrm_products_unscored",
            "Products in judged windows that there was no time to judge",
            ["profile", "outcome"],
            registry=registry,
        )
        self._stages = Histogram(
            "csrm_search_seconds",
            "Time of a search: its window from OpenSearch, its judgments, and all in all",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._breaker = Gauge(
            "csrm_breaker_state",
            "Circuit breaker of the relevance service: 0 closed, 1 probing, 2 open",
            registry=registry,
            multiprocess_mode="livemax",
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, of all processes."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

    def count(
        self,
        profile: str,
        status: Status,
        variant: Variant | None,
        *,
        took_ms: float,
        opensearch_ms: float | None,
    ) -> None:
        """Count one search."""
        self._searches.labels(profile, status.kind, status.reason, variant or "").inc()
        for stage, time_ms in (
            ("opensearch", opensearch_ms),
            ("relevance", status.relevance_ms),
            ("total", took_ms),
        ):
            if time_ms is not None:
                self._stages.labels(stage).observe(time_ms / 1000)
        if status.window:
            self._judged.labels(profile, status.kind).inc(status.window)
            self._removed.labels(profile, status.kind).inc(status.removed)
        if status.scored is not None:
            self._unscored.labels(profile, status.kind).inc(status.window - status.scored)

    def breaker(self, state: State) -> None:
        """The state of the circuit breaker just now."""
        self._breaker.set(_STATES[state])
