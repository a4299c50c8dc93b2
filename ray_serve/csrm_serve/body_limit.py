"""ASGI middleware at the door: notes when a request arrived; refuses, before it is read, what is too large or too much.

Knows ASGI; knows no route but those that a probe reads, and no model. Sits inside FastAPI, so that its errors are
answered like every other.
"""

from __future__ import annotations

import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csrm_serve.access import OPEN_PATHS
from csrm_serve.errors import BodyTooLargeError, OverloadedError, ServeError
from csrm_serve.status import error_response

ARRIVED = "csrm_arrived"
"""Key of the request's state: seconds since the epoch."""

MAX_REQUESTS_UNDER_WAY = 1_000
"""Most requests that are read or wait for an answer, in this process."""

MAX_BYTES_UNDER_WAY = 256 * 2**20
"""Most bytes that their bodies have together."""


class BodyLimit:
    """Answers 413 to a body over ``max_bytes``: at once when it says its length, else when it gets there.

    In the same way 503 to one that is too much for now: those under way may have ``max_bytes_under_way`` together, and
    there may be ``max_requests_under_way`` of them. Probes are always let in.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_bytes_under_way: int, max_requests_under_way: int
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_bytes_under_way = max_bytes_under_way
        self._max_requests_under_way = max_requests_under_way
        self._bytes = 0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})[ARRIVED] = time.time()
        declared = dict(scope["headers"]).get(b"content-length", b"")
        held = int(declared) if declared.isdigit() else 0  # of this request, in `_bytes`
        self._requests += 1
        self._bytes += held
        refused = self._refusal(held)
        if scope["path"] not in OPEN_PATHS and self._requests > self._max_requests_under_way:
            refused = OverloadedError("Too many requests are under way: come again in a second.")
        read = 0
        answered = False

        async def counted() -> Message:
            nonlocal held, read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read > held:
                self._bytes += read - held
                held = read
                refused = self._refusal(held)
            if refused is not None:
                raise _Refused
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if refused is not None and not answered:  # the framework's own answer to the refusal
                return
            answered = True
            await send(message)

        try:
            if refused is None:
                with suppress(_Refused):
                    await self._app(scope, counted, noted)
        finally:
            self._requests -= 1
            self._bytes -= held
        if refused is not None and not answered:
            await error_response(refused)(scope, receive, send)

    def _refusal(self, held: int) -> ServeError | None:
        """Why a body of so many bytes, which are counted already, is not read."""
        if held > self._max_bytes:
            return BodyTooLargeError(
                f"The body is over {self._max_bytes:,} bytes: send fewer products at once."
            )
        if self._bytes > self._max_bytes_under_way:
            return OverloadedError("The requests under way are too large together: come again in a second.")
        return None


class _Refused(Exception):
    """Ends the reading of a body; never leaves this module."""
