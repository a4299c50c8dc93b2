"""One HTTP exchange with a client, over bare ASGI. Knows HTTP; knows no OpenSearch."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from csrm_opensearch.errors import BodyTooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_SEARCH_BODY = 16 * 1024 * 1024
"""Bytes of a search body, packed or not, that the gateway reads; larger ones stream through untouched."""

_GZIP_FROM = 1_024
_GZIP_LEVEL = 3  # OpenSearch's own default, http.compression_level


class ClientGoneError(Exception):
    """The client hung up; nobody waits for the answer."""


class Exchange:
    """A request and the way to answer it.

    ``path`` and ``query_string`` are the bytes the client sent, not decoded.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.query_string: bytes = scope["query_string"]
        self.headers: Headers = list(scope["headers"])
        self.port: int | None = (scope.get("server") or (None, None))[1]
        """The port of ours that it came in by."""
        self.receive = receive
        self.send = send
        self.client: str | None = (scope.get("client") or (None, None))[0]
        self.started = False
        """Whether the answer has begun, so that no other can be given."""
        self.status: int | None = None
        self.told = ""
        """The ``csrm-status`` of the answer."""
        self.sent = 0
        """Bytes of the answer's body so far."""

    @property
    def target(self) -> str:
        """Path and query string as the client sent them."""
        query = b"?" + self.query_string if self.query_string else b""
        return (self.raw_path + query).decode("latin-1")

    def header(self, name: bytes) -> str:
        """A header of the request in lower case, or the empty text."""
        return self.said(name).lower()

    def said(self, name: bytes) -> str:
        """A header of the request as the client wrote it, or the empty text."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")

    @property
    def json_expected(self) -> bool:
        """Whether request body and answer are JSON (or NDJSON), not YAML, CBOR or SMILE."""
        sent, accepted = self.header(b"content-type"), self.header(b"accept")
        return (not sent or "json" in sent) and (not accepted or "json" in accepted or "*/*" in accepted)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                yield body

    async def all_chunks(self, head: bytes) -> AsyncIterator[bytes]:
        """What was read already, then the rest as it arrives."""
        yield head
        async for chunk in self.chunks():
            yield chunk

    async def body(self) -> bytes:
        """The whole body of a search.

        Raises:
            BodyTooLargeError: holds what was read; ``all_chunks`` gives it with the rest.
        """
        parts, size = [], 0
        async for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_SEARCH_BODY:
                raise BodyTooLargeError(b"".join(parts))
        return b"".join(parts)

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status = True, status
        self.told = next((value.decode() for name, value in headers if name == b"csrm-status"), "")
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        self.sent += len(body)
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer; packed where the client takes gzip and it is worth it."""
        if len(body) >= _GZIP_FROM and "gzip" in self.header(b"accept-encoding"):
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            headers = [*headers, (b"content-encoding", b"gzip")]
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(b"" if self.method == "HEAD" else body)

    async def json(self, status: int, value: object, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        body = msgspec.json.encode(value)
        await self.answer(status, [(b"content-type", b"application/json; charset=UTF-8"), *headers], body)

    async def error(self, status: int, kind: str, reason: str) -> None:
        """An error in OpenSearch's own shape, so that every client library can read it."""
        detail = {"type": kind, "reason": reason}
        await self.json(status, {"error": {"root_cause": [detail], **detail}, "status": status})


def unpacked(body: bytes, encoding: str) -> bytes | None:
    """A request body without its content encoding; null where that is unknown, broken, or hides too much."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return None
    try:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip and zlib headers alike
        plain = unpacker.decompress(body, MAX_SEARCH_BODY)
        return plain if unpacker.eof and not unpacker.unconsumed_tail else None
    except zlib.error:
        return None
