"""What the gateway costs: pass-through and reranked searches, beside OpenSearch alone and nginx before it.

    python -m benchmarks.gateway [--json FILE] [--seconds 5] [--rounds 3] [--workers 1] [--relevance URL|none]

Everything is real and on this machine: an OpenSearch node, `csrm gateway`, nginx where it is installed, the relevance
service (`csrm serve`, or the one at the URL; `none` leaves its part out). The targets take turns, round after round,
so that what else the machine does meets all of them. Requests are sent by one process over kept connections.

`rules` is the gateway's own work on one search of 100 products of 2 kB, in one process, without network: read the
search, widen it, read OpenSearch's answer and the judgments, decide, write the page.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.figures import publish
from benchmarks.gateway_stage import (
    BULK,
    LARGE,
    PLAIN,
    SHOP,
    Proxy,
    fill,
    gateway,
    nginx,
    recorded,
    shop_queries,
)
from benchmarks.http_load import Load, Repeated, Scrolled, http_request, milliseconds, run
from csrm.wire import RelevanceResponse
from csrm_opensearch.profiles import Profile
from csrm_opensearch.recent import RecentJudgments
from csrm_opensearch.rerank import Reranker
from csrm_opensearch.search_request import Params, Search, read_search
from csrm_opensearch.testing import opensearch_node
from demo.machine import describe, free_port
from demo.service import BUILD, Service

_BULK_LINES = 1_000
_RULE_TURNS = 200
_BIG_BULK = 95 * 1024 * 1024
"""Bytes; OpenSearch takes no more than 100 MB at once."""


def search(index: str, text: str, **more: object) -> bytes:
    body = json.dumps({"query": {"match": {"title": text}}, **more}).encode()
    return http_request("POST", f"/{index}/_search", body)


def works() -> dict[str, tuple[Repeated | Scrolled, int]]:
    """What is passed through, and over how many connections."""
    titles = [search(PLAIN, f"{word} case") for word in ("red", "blue", "steel", "soft", "slim", "wood")]
    line = b'{"index":{}}\n' + json.dumps({"title": "phone case", "about": "x" * 1_000}).encode() + b"\n"
    bulk = http_request(
        "POST", f"/{BULK}/_bulk?filter_path=errors", line * _BULK_LINES, "application/x-ndjson"
    )
    skipped = [http_request("POST", f"/{SHOP}/_search", b'{"query":{"match_all":{}},"size":10}')]
    scroll = http_request("POST", f"/{PLAIN}/_search?scroll=1m", b'{"size":500,"sort":["_doc"]}')
    return {
        "search, 10 hits": (Repeated(titles), 1),
        "search, 10 hits, 16 connections": (Repeated(titles), 16),
        "search that is read and left alone": (Repeated(skipped), 1),
        "bulk of 1,000 products": (Repeated([bulk]), 2),
        "scroll by 500": (Scrolled(scroll), 1),
    }


def pass_through(targets: Mapping[str, str], seconds: float, rounds: int) -> dict[str, Any]:
    """Every work on every target, in turns."""
    results: dict[str, Any] = {}
    for name, (work, connections) in works().items():
        loads = {target: Load() for target in targets}
        for url in targets.values():
            run(url, work, connections=connections, seconds=min(1.0, seconds))  # warms up
        for _ in range(rounds):
            for target, url in targets.items():
                loads[target].add(run(url, work, connections=connections, seconds=seconds))
        figures = {target: load.figures() for target, load in loads.items()}
        results[name] = {"connections": connections, **figures, "beside direct": _beside(figures)}
    return results


def _beside(figures: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    direct = figures["direct"]
    return {
        target: {
            "added_p50_ms": round(own["p50_ms"] - direct["p50_ms"], 3),
            "added_p99_ms": round(own["p99_ms"] - direct["p99_ms"], 3),
            "throughput": round(own["per_second"] / direct["per_second"], 3),
        }
        for target, own in figures.items()
        if target != "direct" and own["requests"] and direct["requests"]
    }


def reranked(proxy: Proxy, opensearch: str, searches: int) -> dict[str, Any]:
    """Searches with real judgments, one at a time: each query once, then page 2 of each."""
    texts = shop_queries()[:searches]
    results: dict[str, Any] = {}
    seen = len(recorded(proxy))
    for page, start in (("page 1", 0), ("page 2", 10)):
        work = Repeated([search(SHOP, text, **{"from": start}) for text in texts])
        direct = run(opensearch, work, connections=1, seconds=600, most=len(texts))
        load = run(proxy.url, work, connections=1, seconds=600, most=len(texts))
        rows = recorded(proxy, seen)
        seen += len(rows)
        done = [row for row in rows if row["outcome"] == "reranked"]
        own = sorted(
            (row["took_ms"] - row["opensearch_ms"] - (row["relevance_ms"] or 0.0)) / 1000 for row in done
        )
        relevance = sorted((row["relevance_ms"] or 0.0) / 1000 for row in done)
        results[page] = {
            "direct": direct.figures(),
            "gateway": load.figures(),
            "reranked": len(done),
            "not_reranked": [row["reason"] for row in rows if row["outcome"] != "reranked"],
            "products_judged": round(statistics.fmean(row["window"] for row in done), 1) if done else 0,
            "relevance_p50_ms": milliseconds(relevance, 0.5),
            "gateway_itself_p50_ms": milliseconds(own, 0.5),
            "gateway_itself_p99_ms": milliseconds(own, 0.99),
        }
    return results


class _Ready:
    """Judgments that are there at once; reading them off the wire is the gateway's work and is done each time."""

    def __init__(self, count: int) -> None:
        grades = {"E": 0.4, "S": 0.3, "C": 0.2, "I": 0.1}
        results = [
            {
                "index": place,
                "grades": grades,
                "score": (place * 37 % 100) / 100,
                "irrelevance": (place * 61 % 100) / 100,
                "decision": "remove" if place % 3 == 0 else "keep",
            }
            for place in range(count)
        ]
        answer = {
            "model": "m",
            "locale": "en",
            "threshold": 0.5,
            "knowledge_version": "none",
            "results": results,
        }
        self._answer = json.dumps(answer).encode()

    async def judge(self, query: str, products: Sequence[str], **_: Any) -> RelevanceResponse:
        answer = RelevanceResponse.model_validate_json(self._answer, extra="ignore")
        return answer.model_copy(update={"results": answer.results[: len(products)]})


def rules(opensearch: str) -> dict[str, Any]:
    """The time of the rules, and what a worker remembers."""
    profile = Profile(name="large", indices=[LARGE], text_fields=["title", "about"], locale="en")
    body = json.dumps({"query": {"match": {"title": "phone case"}}, "size": 10}).encode()
    asked = read_search(body, Params(b""), profile).search
    assert isinstance(asked, Search)
    window = _post(opensearch, f"/{LARGE}/_search", asked.window_body())
    times = []
    before = psutil.Process().memory_info().rss
    recent = RecentJudgments()

    async def one(turn: int) -> None:
        reranker = Reranker(_Ready(100), recent)
        text = body.replace(b"phone case", b"phone case %d" % turn)
        began = time.perf_counter()
        search = read_search(text, Params(b""), profile).search
        assert isinstance(search, Search)
        search.window_body()
        done = await reranker.page(search, [LARGE], time.monotonic() + 60, window, _no_more)
        times.append(time.perf_counter() - began)
        assert done.status.kind == "reranked", done.status

    async def all_turns() -> None:
        for turn in range(_RULE_TURNS + 800):
            await one(turn)

    asyncio.run(all_turns())
    ordered = sorted(times[:_RULE_TURNS])
    return {
        "window_bytes": len(window),
        "p50_ms": milliseconds(ordered, 0.5),
        "p99_ms": milliseconds(ordered, 0.99),
        "memory_of_1000_remembered_windows_mb": round((psutil.Process().memory_info().rss - before) / 1e6, 1),
    }


async def _no_more(_: bytes) -> bytes | None:
    return None


def _post(url: str, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()


def big_bulk(proxy: Proxy) -> dict[str, Any]:
    """One bulk of 95 MB in chunks of 64 kB, and the most memory that a worker took meanwhile."""
    line = b'{"index":{"_index":"%s"}}\n{"about":"%s"}\n' % (BULK.encode(), b"x" * 64_000)
    before, most, done = max(proxy.memory_mb()), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], *proxy.memory_mb())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=600)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
            lines = (line for _ in range(_BIG_BULK // len(line)))
            began = time.perf_counter()
            connection.request("POST", "/_bulk?filter_path=errors", lines, headers, encode_chunked=True)
            answer = connection.getresponse()
            body = answer.read()
            seconds = time.perf_counter() - began
    finally:
        done.set()
        watching.join()
    return {
        "megabytes": round(_BIG_BULK / 1e6),
        "status": answer.status,
        "answer": body[:200].decode(errors="replace"),
        "seconds": round(seconds, 2),
        "memory_before_mb": before,
        "memory_most_mb": most[0],
    }


@contextmanager
def relevance_service(told: str | None) -> Iterator[str | None]:
    """The URL of the service; null where there is to be none."""
    if told is not None:
        yield None if told == "none" else told
        return
    port = free_port(8100)
    arguments = ["serve", "--port", str(port), "--dashboard-port", str(free_port(8365))]
    service = Service("The relevance service", arguments, BUILD.parent / "bench" / "serve.log")
    try:
        url = f"http://127.0.0.1:{port}"
        service.wait_ready(f"{url}/readyz", 300)
        yield url
    finally:
        service.stop()


def measure(
    *, seconds: float, rounds: int, workers: int, searches: int, relevance: str | None, products: int
) -> dict[str, Any]:
    """All figures.

    Args:
        seconds: of each round of a work on a target.
        rounds: how often the targets take their turn.
        workers: processes of the gateway.
        searches: how many are reranked with real judgments.
        relevance: URL of a service, ``none``, or null to start one.
        products: of the large indices.
    """
    with ExitStack() as stack:
        node = stack.enter_context(opensearch_node(heap_mb=2_048))
        fill(node.url, large=products)
        none = f"http://127.0.0.1:{free_port(8200)}"
        proxy = stack.enter_context(gateway(node.url, none, workers=workers))
        plain = stack.enter_context(nginx(node.url))
        targets = {"direct": node.url, "gateway": proxy.url} | ({"nginx": plain.url} if plain else {})
        idle = proxy.memory_mb()
        result: dict[str, Any] = {
            "machine": describe(),
            "opensearch": node.version,
            "gateway_workers": workers,
            "nginx": "measured" if plain else "not installed (Debian: apt-get install nginx-light)",
            "pass-through": pass_through(targets, seconds, rounds),
            "rules": rules(node.url),
            "big bulk": big_bulk(proxy),
        }
        result["memory_mb"] = {"idle": idle, "after all that": proxy.memory_mb()}
        if url := stack.enter_context(relevance_service(relevance)):
            judged = stack.enter_context(gateway(node.url, url, workers=workers))
            result["reranked"] = reranked(judged, node.url, searches)
        return result


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started is left behind
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="Write the figures there too.")
    parser.add_argument("--seconds", type=float, default=5.0, help="Of each round on each target.")
    parser.add_argument("--rounds", type=int, default=3, help="How often the targets take their turn.")
    parser.add_argument("--workers", type=int, default=1, help="Processes of the gateway.")
    parser.add_argument("--searches", type=int, default=60, help="How many are reranked (at most 60).")
    parser.add_argument("--products", type=int, default=20_000, help="In the large indices.")
    parser.add_argument("--relevance", help="URL of a relevance service, or 'none'; started if not given.")
    told = vars(parser.parse_args())
    out = told.pop("json")
    publish(measure(**told), out)


if __name__ == "__main__":
    main()
