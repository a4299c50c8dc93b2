"""Durations of the stages as a Ray Serve histogram, for the Ray dashboard and Prometheus.

    csrm_stage_ms{stage}     queue, knowledge, shared_cache, cache, tokenise, prefix, products (of these early), total
    csrm_products{decision}  products judged: kept and removed; unscored: not judged before the deadline
    csrm_depth{layers}       products judged by what judges first alone, and by all layers
    csrm_cache{outcome}      products whose grades were remembered (hit) or computed (miss)
    csrm_shared_cache{outcome}  grades that were there (hit) or not (miss), that were looked up in vain (failed), that
                             were written, and that were not because it failed or was too slow (dropped)
    csrm_engine{engine, precision, fallback}  1 for what a replica scores with; fallback: whether a faster one was left

Knows Ray's metrics; only deployments make them, since Ray tags them with the replica they live in.
"""

from __future__ import annotations

from collections.abc import Callable

from ray.serve.metrics import Counter, Gauge, Histogram

STAGE_BUCKETS_MS: list[float] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000]


def stage_observer() -> Callable[[str, float], None]:
    """A function that records (stage, milliseconds)."""
    histogram = Histogram(
        "csrm_stage_ms",
        description="Milliseconds a stage of a relevance request took.",
        boundaries=STAGE_BUCKETS_MS,
        tag_keys=("stage",),
    )

    def observe(stage: str, ms: float) -> None:
        histogram.observe(ms, tags={"stage": stage})

    return observe


def product_counter() -> Callable[[str, int], None]:
    """A function that counts (decision, products)."""
    return _counter("csrm_products", "Products judged, by decision.", "decision")


def depth_counter() -> Callable[[str, int], None]:
    """A function that counts (layers, products)."""
    return _counter("csrm_depth", "Products judged, by which layers of the model: first or all.", "layers")


def lookup_counter() -> Callable[[str, int], None]:
    """A function that counts (outcome, products) of looking grades up."""
    return _counter(
        "csrm_cache", "Products looked up among the grades computed before, by outcome.", "outcome"
    )


def shared_counter() -> Callable[[str, int], None]:
    """A function that counts (outcome, grades) of the cache that all replicas share."""
    return _counter(
        "csrm_shared_cache", "Grades in the cache that all replicas share, by outcome.", "outcome"
    )


def engine_gauge() -> Callable[[str, str, bool], None]:
    """A function that says what a replica scores with: (engine, precision, whether a faster one was left)."""
    gauge = Gauge(
        "csrm_engine",
        description="1 for the engine and precision that a replica scores with.",
        tag_keys=("engine", "precision", "fallback"),  # type: ignore[arg-type]  # Ray's hint says one, it takes any
    )
    told: dict[str, str] = {}

    def tell(engine: str, precision: str, fallback: bool) -> None:
        nonlocal told
        tags = {"engine": engine, "precision": precision, "fallback": "yes" if fallback else "no"}
        if told not in ({}, tags):
            gauge.set(0, tags=told)
        gauge.set(1, tags=tags)
        told = tags

    return tell


def _counter(name: str, description: str, tag: str) -> Callable[[str, int], None]:
    counter = Counter(name, description=description, tag_keys=(tag,))

    def count(value: str, products: int) -> None:
        if products:
            counter.inc(products, tags={tag: value})

    return count
