"""A small relevance service on real HTTP for the gateway's tests: it judges by words, and fails on demand.

A product that says ``junk`` is irrelevant, any other is not. Tests change ``how`` and ``delay`` to make it
wrong, slow or silent, and look at what was ``asked``. The real model is tested in ``tests/e2e``.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from aiohttp import web


class WordService:
    """The service's knobs and counters; safe to use from the tests' thread."""

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.how: str = "well"
        self.delay = 0.0
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.cancelled = 0
        self._met: WeakSet[asyncio.BaseTransport] = WeakSet()

    async def relevance(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        self.headers.append(request.headers)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        match self.how:
            case "well":
                return web.json_response(judged(asked))
            case "garbage":
                return web.Response(body=b"\x00<html>", content_type="application/json")
            case "short":
                answer = judged(asked)
                answer["results"].pop()
                return web.json_response(answer)
            case "hurries":
                answer = judged(asked)
                answer["results"] = answer["results"][: len(asked["products"]) // 2]
                return web.json_response(answer | {"scored": len(answer["results"])})
            case "nan":
                answer = judged(asked)
                answer["results"][0]["score"] = float("nan")
                return web.Response(text=json.dumps(answer), content_type="application/json")
            case "newer":
                answer = judged(asked) | {"a_field_of_tomorrow": 1}
                answer["results"][0]["another"] = True
                return web.json_response(answer)
            case "hangs-up":
                if request.transport:
                    request.transport.abort()
                return web.Response()
            case "closes-kept":
                # as a server does whose keep-alive ends just when the next request arrives
                assert request.transport
                if request.transport in self._met:
                    request.transport.abort()
                self._met.add(request.transport)
                return web.json_response(judged(asked))
            case "refuses":
                return web.json_response({"error": {"type": "input", "reason": "no"}}, status=422)
            case _:
                return web.json_response({"error": {"type": "overload", "reason": "no"}}, status=503)

    async def ready(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ready"}, status=200 if self.how == "well" else 503)


def judged(asked: dict[str, Any]) -> dict[str, Any]:
    """Judgments as the wire has them. The score falls with the text's checksum, so that the order changes."""
    threshold = asked.get("threshold", 0.5)
    results = []
    for index, text in enumerate(asked["products"]):
        junk = "junk" in text.split()
        irrelevance = 0.9 if junk else 0.1
        score = (sum(text.encode()) % 97) / 100 * (0.1 if junk else 1)
        grades = {"E": score, "S": 1 - irrelevance - score if not junk else 0.0, "C": 0.0, "I": irrelevance}
        grades = {grade: min(1.0, max(0.0, p)) for grade, p in grades.items()}
        decision = "remove" if irrelevance > threshold else "keep"
        results.append(
            {
                "index": index,
                "grades": grades,
                "score": score,
                "irrelevance": irrelevance,
                "decision": decision,
            }
        )
    answer = {
        "model": "words@1",
        "locale": asked.get("locale"),
        "threshold": threshold,
        "knowledge_version": "none",
        "results": results,
    }
    if asked.get("explain"):
        note = {"id": "t1", "kind": "term", "text": "case = cover", "locale": None, "similarity": 0.9}
        answer |= {"knowledge": [note], "timings_ms": {"products": 1.0}}
    return answer


@contextmanager
def word_service(port: int = 0) -> Iterator[WordService]:
    """Run the service in a thread of its own."""
    service = WordService()
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def live() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/relevance", service.relevance)
        app.router.add_get("/readyz", service.ready)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),), daemon=True)
    thread.start()
    assert started.wait(10), "the test's relevance service did not start"
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
