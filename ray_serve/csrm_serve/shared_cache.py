"""Grades that any replica computed, in a Valkey or Redis server behind each replica's own cache.

    before a job is judged   what the replica does not remember is looked up, within a hard time limit
    as grades are computed   they are written in the background

A key is a hash of all that decides the grades: bundle, base, precision, depth, query, locale, knowledge, product text.
So nothing is ever stale. A server that is slow or away costs the time limit and no answer; after some failures in a row
it is left alone for a while. Knows that server and `GradeCache`; knows no model and no Ray.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from csrm.errors import MissingExtraError
from csrm_serve.errors import StartError

if TYPE_CHECKING:
    from csrm.scoring.cache import GradeCache, Question

Grades = NDArray[np.float32]

FAILURES = 3
"""So many in a row, and the server is left alone."""

REST_S = 10.0
"""So long; then one look-up tries again."""

WRITE_S = 2.0
"""Most that a batch may take to be written; nobody waits for it."""

BATCH = 1_000
MOST_PENDING = 20_000
"""Grades that may wait to be written; the oldest are dropped beyond it. 100 bytes each."""

_FORMAT = np.dtype("<f4")
_GRADES = 4

log = logging.getLogger("ray.serve.csrm")


class SharedCache:
    """A client of the server, for one event loop.

    Args:
        url: ``valkey://HOST:PORT/DB``, ``redis://``, ``rediss://`` for TLS, or ``unix://PATH``.
        password_file: holds the server's password, where it asks for one.
        prefix: begins every key, so that several applications can share a server.
        ttl_s: seconds that grades are kept for.
        timeout_ms: most milliseconds that a look-up may take.
        count: told (outcome, products): hit, miss, failed (looked up in vain), written, dropped.

    Raises:
        MissingExtraError: the ``cache`` extra is not installed.
        StartError: the URL or the file is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        password_file: str | None = None,
        prefix: str = "csrm",
        ttl_s: int,
        timeout_ms: float,
        count: Callable[[str, int], None] = lambda outcome, products: None,
    ) -> None:
        try:
            from valkey.asyncio import Valkey
            from valkey.exceptions import ValkeyError
        except ImportError as error:
            raise MissingExtraError("valkey", "cache") from error
        self._failing = (ValkeyError, OSError, TimeoutError)
        try:
            # Nothing is tried twice and no socket waits longer than a batch may: the limits are set here.
            self._client: Any = Valkey.from_url(
                url, password=_password(password_file), socket_timeout=WRITE_S, socket_connect_timeout=WRITE_S
            )
        except ValueError as error:
            raise StartError(f"shared_cache: {error}") from error
        self._prefix = prefix.encode()
        self._ttl_s = ttl_s
        self._timeout_s = timeout_ms / 1000
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[tuple[bytes, bytes]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._failures = 0
        self._rests_until = 0.0

    async def fill(
        self, cache: GradeCache, identity: str, questions: Iterable[Question], products: Sequence[str]
    ) -> None:
        """Look up what a replica's own cache does not know of a job, and let it remember what there is.

        Args:
            identity: of the model: bundle, base and precision.
            questions: as `csrm.model.RelevanceModel.questions` gives them.
        """
        self._loop = asyncio.get_running_loop()
        if self._rests():
            return
        keys = list(dict.fromkeys(key for question in questions for key in cache.unknown(question, products)))
        if not keys:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                values = await self._client.mget([self._name(identity, key) for key in keys])
        except self._failing as error:
            self._failed(error)
            self._count("failed", len(keys))
            return
        self._went_well()
        found = {
            key: row for key, value in zip(keys, values, strict=True) if (row := _read(value)) is not None
        }
        if found:
            cache.remember(list(found), np.stack(list(found.values())))
        self._count("hit", len(found))
        self._count("miss", len(keys) - len(found))

    def keep(self, identity: str, keys: Sequence[bytes], grades: Grades) -> None:
        """Write grades (n, 4) that were computed, some time; may be called in any thread."""
        if self._loop is None:  # before the first job: the query that proves the model
            return
        rows = grades.astype(_FORMAT)
        entries = [(self._name(identity, key), row.tobytes()) for key, row in zip(keys, rows, strict=True)]
        with suppress(RuntimeError):  # the loop has ended, and the replica with it
            self._loop.call_soon_threadsafe(self._take, entries)

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        await self._client.aclose()

    def _take(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        if self._rests():
            self._count("dropped", len(entries))
            return
        self._pending.extend(entries)
        if (beyond := len(self._pending) - MOST_PENDING) > 0:
            for _ in range(beyond):
                self._pending.popleft()
            self._count("dropped", beyond)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
            pipeline = self._client.pipeline(transaction=False)
            for name, value in batch:
                pipeline.set(name, value, ex=self._ttl_s)
            try:
                async with asyncio.timeout(WRITE_S):
                    await pipeline.execute()
            except self._failing as error:
                self._failed(error)
                self._count("dropped", len(batch) + len(self._pending))
                self._pending.clear()
                return
            self._went_well()
            self._count("written", len(batch))

    def _name(self, identity: str, key: bytes) -> bytes:
        return b":".join((self._prefix, identity.encode(), key))

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            if self._failures == FAILURES:
                log.warning(
                    "Scoring without the shared cache (%s: %s); it is tried every %.0f s.",
                    type(error).__name__,
                    error or f"no answer within {self._timeout_s * 1000:g} ms",
                    REST_S,
                )
            self._rests_until = time.monotonic() + REST_S

    def _went_well(self) -> None:
        if self._failures >= FAILURES:
            log.info("Scoring with the shared cache again.")
        self._failures = 0


def check_url(url: str) -> None:
    """Raise ValueError for an address that holds a password: the settings are shown on Ray's dashboard."""
    parts = urlsplit(url)
    try:
        sound = parts.scheme == "unix" or (parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number
        sound = False
    if not sound or parts.scheme not in ("valkey", "valkeys", "redis", "rediss", "unix"):
        raise ValueError("shared_cache: give valkey://HOST:PORT, redis://, rediss:// (TLS) or unix://PATH")
    if parts.password is not None or "password=" in parts.query:
        raise ValueError("shared_cache: put the password into the file of shared_cache_password_file")


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        password = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartError(f"shared_cache_password_file: {file} cannot be read ({why}).") from None
    if not password:
        raise StartError(f"shared_cache_password_file: {file} is empty: put the password there.")
    return password


def _read(value: bytes | None) -> Grades | None:
    """Grades as they were written; null for what somebody else wrote."""
    if value is None or len(value) != _GRADES * _FORMAT.itemsize:
        return None
    row = np.frombuffer(value, dtype=_FORMAT).astype(np.float32)
    sound = np.isfinite(row).all() and (row >= 0).all() and abs(float(row.sum()) - 1) < 0.01
    return row if sound else None
