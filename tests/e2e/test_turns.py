"""Long and short requests beside each other on the real service: the short ones do not wait for the long ones."""

from __future__ import annotations

import asyncio
import time

import httpx

from .conftest import Relevance

LONG = 6
"""More than fit beside each other when what waits, waits at the ingress."""

NEVER_MS = 600_000
"""Later than the long ones may end, which a slow machine would else refuse as too late."""

FRESH = time.time_ns()
"""Makes products that nobody judged before."""


def body(query: str, products: int) -> dict[str, object]:
    texts = [f"Silicone case {FRESH} for {query}, number {number}" for number in range(products)]
    how = {"locale": "en", "level": "full", "deadline_ms": NEVER_MS, "explain": True}
    return {"query": query, "products": texts, **how}


async def test_ten_products_do_not_wait_for_thousands(relevance: Relevance) -> None:
    """Nor for hundreds that came before them: who needs the least comes first, after the batch that runs."""
    done: list[str] = []

    async def ask(query: str, products: int) -> dict[str, float]:
        answer = await client.post("/v1/relevance", json=body(query, products))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert len(told["results"]) == products
        done.append(query)
        timings: dict[str, float] = told["timings_ms"]
        return timings

    async with httpx.AsyncClient(base_url=relevance.url, timeout=60) as client:
        others = [asyncio.create_task(ask(f"phone {number}", 1_000)) for number in range(LONG)]
        await asyncio.sleep(1)
        others.append(asyncio.create_task(ask("middle", 500)))
        await asyncio.sleep(0.1)
        waits = []
        for number in range(3):
            spent = await ask(f"short {number}", 10)
            waits.append(spent["queue"] / spent["products"])
        order = list(done)
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    assert order == ["short 0", "short 1", "short 2"], "a fast machine needs larger others to tell anything"
    # A batch of the others holds thirty products and takes three times as long as these ten, so that a turn for each of
    # the seven would be a wait of twenty times; best of three, for what else the machine does.
    assert min(waits) < 8, waits
