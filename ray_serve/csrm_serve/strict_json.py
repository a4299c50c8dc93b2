"""Bodies as RFC 8259 has them between systems: UTF-8 and nothing else, and no key twice in one object.

Python's parser guesses UTF-16 and UTF-32, and of two values for a key it silently takes the last. Knows FastAPI's
routes; knows no field. Which numbers a field takes, its model says.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


def parse(body: bytes) -> Any:
    """The value of a body; a byte order mark before it is passed over.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        json.JSONDecodeError: it is not JSON, or an object has a key twice.
    """
    return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once_each)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise json.JSONDecodeError("an object has a key twice", "", 0)
    return found


class StrictRoute(APIRoute):
    """A route whose body is read by `parse`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        answer = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await answer(_StrictRequest(request.scope, request.receive))

        return strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse(await self.body())
