"""A load generator for one HTTP server: so many connections, each of which asks again once it is answered.

Runs in a process of its own, on bare sockets, so that it costs little of the cores it shares with what it measures.
Knows HTTP/1.1 and time; knows no OpenSearch.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop


class Connection(asyncio.Protocol):
    """A kept connection that asks one thing at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        status, body = self._parser.get_status_code(), b"".join(self._pieces)
        self._pieces, self._parser = [], httptools.HttpResponseParser(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            OSError: the server hung up.
        """
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class Repeated:
    """The same requests over and over, each connection beginning at another one."""

    requests: Sequence[bytes]

    def asker(self, connection: Connection, place: int) -> Callable[[], Any]:
        turn = place

        async def ask() -> tuple[int, bytes]:
            nonlocal turn
            turn += 1
            return await connection.ask(self.requests[turn % len(self.requests)])

        return ask


@dataclass(frozen=True)
class Scrolled:
    """Scrolls through an index, page by page, and begins anew at its end."""

    first: bytes

    def asker(self, connection: Connection, place: int) -> Callable[[], Any]:
        scroll = ""

        async def ask() -> tuple[int, bytes]:
            nonlocal scroll
            body = json.dumps({"scroll": "1m", "scroll_id": scroll}).encode()
            request = http_request("POST", "/_search/scroll", body) if scroll else self.first
            status, answer = await connection.ask(request)
            page = json.loads(answer)
            scroll = page.get("_scroll_id", "") if page.get("hits", {}).get("hits") else ""
            return status, answer

        return ask


@dataclass
class Load:
    """What came of it: seconds of each answered request, what was not answered with 200, and the time it took."""

    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    received: int = 0

    def add(self, other: Load) -> None:
        self.latencies += other.latencies
        self.failed += other.failed
        self.seconds += other.seconds
        self.received += other.received

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "requests": len(ordered),
            "failed": len(self.failed),
            "failures": sorted(set(self.failed))[:5],
            "per_second": round(len(ordered) / self.seconds, 1) if self.seconds else 0.0,
            "received_mb_per_second": round(self.received / self.seconds / 1e6, 1) if self.seconds else 0.0,
            "p50_ms": milliseconds(ordered, 0.5),
            "p99_ms": milliseconds(ordered, 0.99),
            "max_ms": milliseconds(ordered, 1.0),
        }


def milliseconds(ordered: Sequence[float], share: float) -> float | None:
    """A percentile (nearest rank) of ordered seconds, in milliseconds; null of none."""
    if not ordered:
        return None
    place = min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))
    return round(ordered[place] * 1000, 3)


def http_request(
    method: str, path: str, body: bytes = b"", kind: str = "application/json", headers: str = ""
) -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{headers}"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def run(url: str, work: Repeated | Scrolled, *, connections: int, seconds: float, most: int = 0) -> Load:
    """Load a server from a process of its own.

    Args:
        url: of the server.
        work: what each connection asks.
        connections: how many ask at once.
        seconds: for how long.
        most: stop after so many requests; 0: only after the time.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (url, work, connections, seconds, most))


def _run(url: str, work: Repeated | Scrolled, connections: int, seconds: float, most: int) -> Load:
    return uvloop.run(_load(url, work, connections, seconds, most))


async def _load(url: str, work: Repeated | Scrolled, connections: int, seconds: float, most: int) -> Load:
    load, address = Load(), urlsplit(url)
    began = time.perf_counter()

    async def one(place: int) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, address.hostname, address.port or 80
        )
        ask = work.asker(connection, place)
        while time.perf_counter() - began < seconds and not (most and len(load.latencies) >= most):
            asked = time.perf_counter()
            try:
                status, body = await ask()
            except OSError as error:
                load.failed.append(str(error))
                return
            load.received += len(body)
            if status == 200:
                load.latencies.append(time.perf_counter() - asked)
            else:
                load.failed.append(f"{status} {body[:200].decode(errors='replace')}")
        connection.close()

    await asyncio.gather(*(one(place) for place in range(connections)))
    load.seconds = time.perf_counter() - began
    return load
