"""Runs the gateway in a thread on a free port, and a wire to OpenSearch that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from csrm_opensearch.gateway import Gateway
from csrm_opensearch.gateway.server import listen, server_config
from csrm_opensearch.profiles import GatewaySettings


@contextmanager
def running_gateway(settings: GatewaySettings) -> Iterator[str]:
    """The gateway's URL; it is stopped at the end."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(Gateway(settings)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < until and thread.is_alive(), "the gateway did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the gateway did not stop"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> bytes:
        """The body, unpacked."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    @property
    def json(self) -> Any:
        return json.loads(self.plain)

    @property
    def csrm(self) -> str:
        return self.headers.get("csrm-status", "")

    @property
    def ids(self) -> list[str]:
        return [hit["_id"] for hit in self.json["hits"]["hits"]]

    @property
    def lasting(self) -> bytes:
        """The body, unpacked, without what differs from one call to the next."""
        return re.sub(rb'("?took"?\s?:\s?)\d+', rb"\g<1>0", self.plain)


def call(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    chunked: bool = False,
) -> Answer:
    """One request over a connection of its own; nothing is added to what the test says."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    if headers is None:
        headers = {} if body is None else {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, dict(headers), encode_chunked=chunked)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Wire:
    """A TCP wire between the gateway and OpenSearch; ``cut`` closes its ends, ``mend`` opens it again.

    Its near end speaks TLS where a context is given, as an OpenSearch with certificates does. With ``closes_kept``
    it hangs up where a second request arrives on a connection, as a server does whose keep-alive just ended.
    """

    closes_kept = False

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._tls = tls
        self._far = (parts.hostname or "127.0.0.1", parts.port or 9200)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.mend()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def mend(self) -> None:
        self._run(self._open())

    def cut(self) -> None:
        self._run(self._close())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_in, far_out = await asyncio.open_connection(*self._far)
            try:
                there = asyncio.ensure_future(_pump(far_in, near_out))
                await asyncio.gather(self._ask(near_in, far_out, there), there)
            finally:
                far_out.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            near_out.close()
            self._tasks.discard(task)

    async def _ask(
        self, near: asyncio.StreamReader, far: asyncio.StreamWriter, answering: asyncio.Future[None]
    ) -> None:
        """Hand requests on."""
        asked = 0
        while data := await near.read(65536):
            asked += data.startswith((b"GET ", b"POST ", b"HEAD "))
            if self.closes_kept and asked > 1:
                answering.cancel()
                return
            far.write(data)
            await far.drain()
        _end(far)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    _end(sink)


def _end(sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, NotImplementedError):  # TLS has no half-closed connection
        sink.write_eof()
