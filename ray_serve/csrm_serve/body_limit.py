"""ASGI middleware at the door: notes when a request arrived, and refuses too large a body before it is read.

Knows ASGI; knows no route and no model. Sits inside FastAPI, so that its error is answered like every other.
"""

from __future__ import annotations

import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csrm_serve.errors import BodyTooLargeError
from csrm_serve.status import error_response

ARRIVED = "csrm_arrived"
"""Key of the request's state: seconds since the epoch."""


class BodyLimit:
    """Answers 413 to a body over ``max_bytes``: at once when it says its length, else when it gets there."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})[ARRIVED] = time.time()
        too_large = BodyTooLargeError(
            f"The body is over {self._max_bytes:,} bytes: send fewer products at once."
        )
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await error_response(too_large)(scope, receive, send)
            return

        left = self._max_bytes
        answered = False

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _Refused
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if left < 0 and not answered:  # the framework's own answer to the refusal
                return
            answered = True
            await send(message)

        with suppress(_Refused):
            await self._app(scope, counted, noted)
        if left < 0 and not answered:
            await error_response(too_large)(scope, receive, send)


class _Refused(Exception):
    """Ends the reading of a body; never leaves this module."""
