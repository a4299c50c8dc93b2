"""A client's HTTP connection: uvicorn's, with the limits on a request's head that uvicorn leaves out.

Knows bytes on a socket; knows no request. A head that trickles in (slow-loris) or never ends would hold a
connection or memory for nothing.
"""

from __future__ import annotations

import asyncio
import string
from urllib.parse import quote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers. OpenSearch refuses far smaller ones itself, with its own words."""

HEAD_SECONDS = 10.0
"""From a request's first byte to the end of its headers."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """One client's connection."""

    _head_bytes = 0
    _in_head = False
    _between_requests = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # a connection on which nothing was asked yet may idle as long as one between two requests
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began_before = self._in_head
        if self._between_requests:
            data = _encoded(data)
        super().data_received(data)
        if began_before and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._between_requests = False
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, _TOO_SLOW)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_done()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between_requests = True

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0

    def _refuse(self, answer: bytes) -> None:
        self._head_done()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def _encoded(data: bytes) -> bytes:
    """The first bytes of a request; a URL typed in UTF-8, which OpenSearch takes too, is percent-encoded."""
    end = data.find(b"\r\n")
    line = data[:end] if end >= 0 else data
    return data if line.isascii() else quote(line, safe=string.printable).encode() + data[len(line) :]
