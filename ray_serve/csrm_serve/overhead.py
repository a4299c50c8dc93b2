"""What HTTP and Serve add to the model's own time, measured at a running service from outside.

Everything that is not a stage of the model counts as added: reading and writing HTTP and JSON, the ingress, asking
for knowledge that is remembered, the queue, and what the requests take on the way between the processes.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import orjson

from csrm.benchmark.workload import Search, searches
from csrm_serve.errors import StartError

MODEL_STAGES = ("cache", "tokenise", "prefix", "products")


@dataclass(frozen=True, slots=True)
class Overhead:
    """Medians over the requests of one case, in milliseconds."""

    case: str
    products: int
    p50_ms: float
    model_p50_ms: float
    added_p50_ms: float


def measure_overhead(url: str, *, products: int = 100, rounds: int = 20) -> list[Overhead]:
    """Ask for so many products, one request after the other over one connection.

    Args:
        url: of the relevance API.
        rounds: searches. Each is asked three times: for one product, so that its knowledge is remembered; for all
            (``cold``: the grades are computed); and for all again (``warm``: they are remembered).

    Raises:
        StartError: a request was not answered with 200.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=300)
    try:
        asked = list(_ask_each(connection, products, rounds))
    finally:
        connection.close()
    return [_summary(case, products, [one[case] for one in asked]) for case in ("cold", "warm")]


Timed = tuple[float, float]
"""Milliseconds of a whole request, and of the model's stages in it."""


def _ask_each(
    connection: http.client.HTTPConnection, products: int, rounds: int
) -> Iterator[dict[str, Timed]]:
    coming = searches(products)
    for number in range(rounds + 1):
        search = next(coming)
        _ask(connection, Search(search.query, search.locale, search.products[-1:]))
        times = {"cold": _ask(connection, search), "warm": _ask(connection, search)}
        if number:  # the first round warms up
            yield times


def _ask(connection: http.client.HTTPConnection, search: Search) -> Timed:
    body = {"query": search.query, "products": search.products, "locale": search.locale, "explain": True}
    started = time.perf_counter()
    connection.request("POST", "/v1/relevance", orjson.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    read = answer.read()
    took = (time.perf_counter() - started) * 1e3
    if answer.status != 200:
        raise StartError(f"The service answered {answer.status}: {read[:200].decode(errors='replace')}")
    stages: dict[str, Any] = orjson.loads(read)["timings_ms"]
    return took, sum(stages.get(stage, 0.0) for stage in MODEL_STAGES)


def _summary(case: str, products: int, times: Sequence[Timed]) -> Overhead:
    return Overhead(
        case,
        products,
        round(median(took for took, _ in times), 2),
        round(median(model for _, model in times), 2),
        round(median(took - model for took, model in times), 2),
    )
