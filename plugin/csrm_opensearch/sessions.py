"""HTTP connections that are kept between requests, and new ones for where a kept one was closed meanwhile.

A server closes idle connections when it likes. A request that is sent at that very moment fails although the
server is well. What only reads is then asked again on a new connection (RFC 9112, 9.3.1). Knows connections;
knows no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp

KEEP_SECONDS = 30.0
"""How long an idle connection is kept: less than servers and load balancers keep theirs (60 to 90 s)."""


class Sessions:
    """``kept`` takes up idle connections, ``fresh`` never does.

    Args:
        limit: of connections at once; 0 for none.
        ssl: as aiohttp takes it.
        traces: of ``kept``; they cost each request some 50 microseconds.
        more: of ``aiohttp.ClientSession``.
    """

    def __init__(
        self, *, limit: int, ssl: Any = True, traces: Sequence[aiohttp.TraceConfig] = (), **more: Any
    ) -> None:
        idle = aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEP_SECONDS, ssl=ssl)
        more["cookie_jar"] = aiohttp.DummyCookieJar()
        self.kept = aiohttp.ClientSession(connector=idle, trace_configs=list(traces), **more)
        self.fresh = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, force_close=True, ssl=ssl), **more
        )

    async def close(self) -> None:
        await self.kept.close()
        await self.fresh.close()
