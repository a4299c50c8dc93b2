"""A load on the gateway while what stands behind it breaks: no search may fail, no page may be wrong.

    python -m benchmarks.gateway_faults [--seconds 600] [--every 5] [--clients 4] [--json FILE]

Every few seconds the next fault: the relevance service is killed, hangs, is slow, answers garbage, too little or not a
number, refuses, hangs up; one of two ways to OpenSearch goes down. Between two faults all is well. Each page is
compared with what it has to be: the reranked page where `csrm-status` says so, and OpenSearch's own otherwise. The
service is the tests' own, which judges by words; node and gateway are real processes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from opensearchpy import OpenSearch, helpers

from benchmarks.figures import publish
from benchmarks.gateway_stage import gateway
from csrm_opensearch.testing import opensearch_node
from tests.integration.gateway.running import Wire
from tests.integration.gateway.word_service import WordService, word_service

INDEX = "bench-shop-faults"
BUDGET_MS = 500.0
QUERIES = ("phone case", "good phone", "junk case", "case 7", "phone case good 12", "phone 3")
PAGES = ((0, 10), (10, 10), (95, 10), (0, 3))

Ids = list[str]


@dataclass
class Outcome:
    """What became of the searches."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slowest_ms: float = 0.0

    @property
    def searches(self) -> int:
        return sum(self.outcomes.values())

    def figures(self) -> dict[str, Any]:
        return {
            "searches": self.searches,
            "failed": len(self.failed),
            "wrong_pages": len(self.wrong),
            "examples": [*self.failed[:5], *self.wrong[:5]],
            "faults": dict(self.faults),
            "outcomes": dict(self.outcomes.most_common()),
            "slowest_ms": round(self.slowest_ms, 1),
            "time_budget_ms": BUDGET_MS,
        }


def fault_load(node: str, *, seconds: float, every: float, clients: int = 4) -> Outcome:
    """Search through a gateway for some time while faults come and go.

    Args:
        node: URL of OpenSearch.
        seconds: for how long.
        every: seconds from one fault to the next; the second half of each is without.
        clients: how many search at once.
    """
    fill(node)
    front, behind = Wire(node), None
    try:
        with word_service() as service:
            behind = Wire(service.url)
            with gateway(f"{front.url},{node}", behind.url, time_budget_ms=BUDGET_MS) as proxy:
                faults = _faults(service, behind, front)
                return asyncio.run(_load(proxy.url, node, faults, seconds, every, clients))
    finally:
        front.close()
        if behind:
            behind.close()


def fill(node: str) -> None:
    """Make the index: 300 products, every third is junk."""
    words = itertools.cycle(("good", "good", "junk"))
    rows = (
        {
            "_index": INDEX,
            "_id": str(number),
            "title": f"phone case {next(words)} {number}" + " phone" * (number % 5),
        }
        for number in range(300)
    )
    with OpenSearch(node, timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        client.indices.create(
            index=INDEX, body={"settings": {"number_of_shards": 1, "number_of_replicas": 0}}
        )
        helpers.bulk(client, rows, refresh=True)


Fault = tuple[Callable[[], None], Callable[[], None]]


def _faults(service: WordService, behind: Wire, front: Wire) -> Mapping[str, Fault]:
    """By name: how it begins and how it ends."""

    def answers(how: str, delay: float = 0.0) -> Fault:
        def begin() -> None:
            service.how, service.delay = how, delay

        return begin, service.reset

    return {
        "service killed": (behind.cut, behind.mend),
        "service hangs": answers("well", 60.0),
        "service is slow": answers("well", 0.3),
        "service answers garbage": answers("garbage"),
        "service judges too few": answers("short"),
        "service answers NaN": answers("nan"),
        "service is overloaded": answers("down"),
        "service refuses": answers("refuses"),
        "service hangs up": answers("hangs-up"),
        "service closes kept connections": answers("closes-kept"),
        "one way to OpenSearch down": (front.cut, front.mend),
    }


async def _load(
    url: str, node: str, faults: Mapping[str, Fault], seconds: float, every: float, clients: int
) -> Outcome:
    outcome, until = Outcome(), time.monotonic() + seconds
    thresholds = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        own = {page: (await _page(session, node, *page))[2] for page in _pages()}
        better = {page: await _reranked(session, url, page, thresholds) for page in _pages()}

        async def client(place: int) -> None:
            chance, pages = random.Random(place), list(_pages())
            while time.monotonic() < until:
                page = chance.choice(pages)
                began = time.monotonic()
                try:
                    status, told, ids = await _page(session, url, *page, _threshold(thresholds))
                except (aiohttp.ClientError, OSError, KeyError) as error:
                    outcome.failed.append(f"{page}: {error!r}")
                    continue
                outcome.slowest_ms = max(outcome.slowest_ms, (time.monotonic() - began) * 1000)
                outcome.outcomes[told.partition("; window")[0]] += 1
                if status != 200:
                    outcome.failed.append(f"{page}: {status} {told}")
                elif ids != (better if told.startswith("reranked") else own)[page]:
                    outcome.wrong.append(f"{page}: {told}: {ids}")

        async def injector() -> None:
            for name, (begin, end) in itertools.cycle(faults.items()):
                if time.monotonic() + every > until:
                    return
                outcome.faults[name] += 1
                await asyncio.to_thread(begin)
                await asyncio.sleep(every / 2)
                await asyncio.to_thread(end)
                await asyncio.sleep(every / 2)

        await asyncio.gather(injector(), *(client(place) for place in range(clients)))
    return outcome


Page = tuple[str, int, int]


def _pages() -> Iterator[Page]:
    return ((query, *page) for query in QUERIES for page in PAGES)


def _threshold(numbers: Iterator[int]) -> float:
    """Another one each time, so that no judgments of it are remembered; the words' judgments are far from it."""
    return 0.4 + next(numbers) * 1e-7


async def _reranked(session: aiohttp.ClientSession, url: str, page: Page, numbers: Iterator[int]) -> Ids:
    status, told, ids = await _page(session, url, *page, _threshold(numbers))
    if status != 200 or not told.startswith("reranked"):
        raise RuntimeError(f"Without any fault, {page} is not reranked: {status} {told}.")
    return ids


async def _page(
    session: aiohttp.ClientSession,
    url: str,
    query: str,
    start: int,
    size: int,
    threshold: float | None = None,
) -> tuple[int, str, Ids]:
    """Status, ``csrm-status`` and the ids of the hits."""
    body: dict[str, Any] = {
        "query": {"match": {"title": query}},
        "from": start,
        "size": size,
        "_source": False,
    }
    if threshold is not None:
        body["ext"] = {"csrm": {"threshold": threshold}}
    async with session.post(f"{url}/{INDEX}/_search", json=body) as response:
        answer = await response.json()
        ids = [hit["_id"] for hit in answer["hits"]["hits"]] if response.status == 200 else []
        return response.status, response.headers.get("csrm-status", ""), ids


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="For how long.")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds from one fault to the next.")
    parser.add_argument("--clients", type=int, default=4, help="How many search at once.")
    parser.add_argument("--json", type=Path, help="Write the report there too.")
    told = vars(parser.parse_args())
    out = told.pop("json")
    with opensearch_node() as node:
        outcome = fault_load(node.url, **told)
    publish(outcome.figures(), out)
    return 1 if outcome.failed or outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
