"""ASGI middleware at the door: who may ask, and how much one caller may ask at once.

Knows keys and ASGI; knows no route but those that a probe reads. An operator who gives no file of keys lets everybody
in: then whoever reaches the port may ask, and the port must not be reachable by others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from csrm_serve.errors import StartError, TooManyRequestsError, UnknownKeyError
from csrm_serve.status import error_response

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Probes bring no key, and the description of the API is no secret."""

Keys = frozenset[bytes]
"""Digests of the keys: looking one up takes no longer for one that is nearly right."""


def read_keys(file: str | Path) -> Keys:
    """The keys of a file: one a line; blank lines and lines that begin with ``#`` are none.

    Raises:
        StartError: the file cannot be read, or holds no key.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"The API keys in {file} cannot be read ({error}): give a text file.") from error
    keys = [key for line in lines if (key := line.strip()) and not key.startswith("#")]
    if not keys:
        raise StartError(f"The file {file} holds no API key: write one a line, or do without the file.")
    return frozenset(map(_digest, keys))


class Access:
    """Answers 401 to who brings no known key and 429 to who asks too much at once.

    Args:
        keys: from `read_keys`. A request brings one in ``Authorization: Bearer KEY``.
        most: requests that one key may have under way, in this process; as many as it likes if None.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, most: int | None = None) -> None:
        self._app = app
        self._keys = keys
        self._most = most
        self._under_way: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        caller = _digest(_bearer(scope))
        if caller not in self._keys:
            refused = UnknownKeyError("This service asks for a key: send Authorization: Bearer KEY.")
            await error_response(refused)(scope, receive, send)
            return
        if self._most is not None and self._under_way[caller] >= self._most:
            too_many = TooManyRequestsError(
                f"{self._most} requests of this key are under way: wait for one of them to end."
            )
            await error_response(too_many)(scope, receive, send)
            return
        self._under_way[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[caller] -= 1


def _bearer(scope: Scope) -> str:
    """The key of a request, or an empty text, which is no key."""
    header: bytes = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, key = header.decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8")).digest()
