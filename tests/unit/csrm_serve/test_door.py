"""The ingress's own HTTP server on a real socket: what arrives, who goes away, what takes too long."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from csrm.wire import ErrorResponse
from csrm_serve.api import create_api
from csrm_serve.door import Door, UntilGone
from csrm_serve.errors import StartError
from csrm_serve.models import Models
from csrm_serve.service import RelevanceService

from .conftest import WordModel

Open = Callable[[ASGIApp], Awaitable[int]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens a door before an application and gives its port."""
    doors: list[Door] = []

    async def open_door(app: ASGIApp) -> int:
        port = free_port()
        doors.append(Door(app, ("127.0.0.1", port)))
        return port

    yield open_door
    for door in doors:
        door._serving.cancel()
        await asyncio.wait([door._serving])


def posted(body: bytes, *, length: int | None = None) -> bytes:
    head = (
        f"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    until = time.monotonic() + 10
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send: Send, body: bytes) -> None:
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, await read_body(receive))


class Slow:
    """Takes as long as it is let; says when it began and when it was cancelled."""

    def __init__(self) -> None:
        self.began, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body == b"quick":
            await answer(send, body)
            return
        self.began.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def test_the_api_answers_through_it(service: RelevanceService, model: WordModel, opened: Open) -> None:
    port = await opened(create_api(Models({"words": service})))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for products in (["red case", "pan"], ["pan"]):  # the second on the connection of the first
            body = {"query": "case", "products": products}
            judged = await client.post("/v1/relevance", json=body)
            assert judged.status_code == 200
            assert len(judged.json()["results"]) == len(products)
        assert (await client.get("/nothing")).json()["error"]["type"] == "not_found"
    assert model.judged == ["case", "case"]


async def test_a_body_in_parts_is_read_to_its_end(opened: Open) -> None:
    reader, writer = await connect(await opened(echo))
    whole = posted(b"ab" * 100_000)
    for start in range(0, len(whole), 50_000):
        writer.write(whole[start : start + 50_000])
        await asyncio.sleep(0.01)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(200_000) == b"ab" * 100_000
    writer.close()


async def test_work_ends_when_the_caller_goes_away(opened: Open) -> None:
    slow = Slow()
    port = await opened(slow)
    _, writer = await connect(port)
    writer.write(posted(b"work"))
    await asyncio.wait_for(slow.began.wait(), 10)
    assert not slow.cancelled.is_set()
    writer.close()
    await asyncio.wait_for(slow.cancelled.wait(), 10)
    reader, writer = await connect(port)  # and others are answered
    writer.write(posted(b"quick"))
    assert (await reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_caller(opened: Open) -> None:
    slow = Slow()
    port = await opened(slow)
    _, writer = await connect(port)
    writer.write(posted(b"wo", length=4))
    await writer.drain()
    writer.close()
    reader, writer = await connect(port)
    writer.write(posted(b"quick"))
    assert (await reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200 ")
    assert not slow.began.is_set()
    writer.close()


@pytest.mark.parametrize("sent", [posted(b"work"), posted(b"wo", length=4)], ids=["work", "body"])
async def test_what_takes_too_long_is_ended_and_said(opened: Open, sent: bytes) -> None:
    reader, writer = await connect(await opened(UntilGone(Slow(), most_s=0.2)))
    writer.write(sent)
    head, _, start = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    error = ErrorResponse.model_validate(json.loads(start)).error
    assert (error.type, error.reason) == (
        "too_slow",
        "The request took over 0.2 s: send all of it at once.",
    )
    writer.close()


async def test_whoever_cancels_the_server_itself_is_heard() -> None:
    """Only the caller's leaving is swallowed."""

    async def receive() -> dict[str, object]:
        if receiving:
            await asyncio.sleep(600)
        receiving.append(True)
        return {"type": "http.request", "body": b"work"}

    async def send(message: object) -> None:
        raise AssertionError(message)

    receiving: list[bool] = []
    slow = Slow()
    task = asyncio.create_task(UntilGone(slow)({"type": "http"}, receive, send))  # type: ignore[arg-type]
    await asyncio.wait_for(slow.began.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port} cannot be listened on .*--port"):
            Door(echo, ("127.0.0.1", port))


async def test_a_server_that_ended_is_no_healthy_one() -> None:
    door = Door(echo, ("127.0.0.1", free_port()))
    door.check()
    door._serving.cancel()
    await asyncio.wait([door._serving])
    with pytest.raises(RuntimeError, match="has ended"):
        door.check()
