"""The gateway's own paths under ``/_csrm/``: the playground, its data, and health."""

from __future__ import annotations

import asyncio
from pathlib import Path

from csrm_opensearch.gateway.exchange import Exchange, Headers
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.relevance_client import RelevanceClient

_FILES = {
    "": ("index.html", b"text/html; charset=utf-8"),
    "playground.css": ("playground.css", b"text/css; charset=utf-8"),
    "list.js": ("list.js", b"text/javascript; charset=utf-8"),
    "playground.js": ("playground.js", b"text/javascript; charset=utf-8"),
}
_SAFE: Headers = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
]


class Pages:
    """Answers what is asked below ``/_csrm/``."""

    def __init__(self, settings: GatewaySettings, nodes: Nodes, relevance: RelevanceClient) -> None:
        self._settings = settings
        self._nodes = nodes
        self._relevance = relevance
        folder = Path(__file__).with_name("playground")
        self._files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    async def answer(self, exchange: Exchange, path: str) -> None:
        """Answer ``/_csrm/{path}``."""
        if exchange.method not in {"GET", "HEAD"}:
            await exchange.error(405, "method_not_allowed", f"/_csrm/{path} answers GET only.")
        elif path == "" and not exchange.raw_path.endswith(b"/"):
            await exchange.answer(308, [(b"location", b"/_csrm/")], b"")
        elif path in self._files:
            body, kind = self._files[path]
            await exchange.answer(200, [(b"content-type", kind), *_SAFE], body)
        elif path == "profiles":
            await exchange.json(
                200,
                {
                    "profiles": self._settings.playground_profiles,
                    "dashboard_url": self._settings.dashboard_url,
                },
                _SAFE,
            )
        elif path == "healthz":
            await exchange.json(200, {"status": "ok"}, _SAFE)
        elif path == "readyz":
            await self._ready(exchange)
        else:
            await exchange.error(
                404, "not_found", f"There is no page /_csrm/{path}: see /_csrm/ for the playground."
            )

    async def _ready(self, exchange: Exchange) -> None:
        """Ready means that searches are answered; without relevance they are, only not reranked."""
        opensearch, relevance = await asyncio.gather(self._nodes.reachable(), self._relevance.ready())
        status = "unavailable" if not opensearch else "ready" if relevance == "ready" else "degraded"
        state = {
            "status": status,
            "opensearch": {"reachable": opensearch, "urls": self._nodes.urls},
            "relevance": {"state": relevance, "url": self._settings.relevance.url},
            "breaker": self._relevance.breaker_state,
        }
        await exchange.json(200 if opensearch else 503, state, _SAFE)
