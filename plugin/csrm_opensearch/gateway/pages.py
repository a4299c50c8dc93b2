"""The gateway's own paths under ``/_csrm/``: the playground, its data, metrics and health."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from csrm_opensearch.gateway.exchange import Exchange, Headers
from csrm_opensearch.gateway.parts import Parts

_FILES = {
    "": ("index.html", b"text/html; charset=utf-8"),
    "playground.css": ("playground.css", b"text/css; charset=utf-8"),
    "list.js": ("list.js", b"text/javascript; charset=utf-8"),
    "playground.js": ("playground.js", b"text/javascript; charset=utf-8"),
}
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"
_SAFE: Headers = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
]


async def answer_page(exchange: Exchange, path: str, parts: Parts) -> None:
    """Answer ``/_csrm/{path}``."""
    if exchange.method not in {"GET", "HEAD"}:
        await exchange.error(405, "method_not_allowed", f"/_csrm/{path} answers GET only.")
    elif path == "" and not exchange.raw_path.endswith(b"/"):
        await exchange.answer(308, [(b"location", b"/_csrm/")], b"")
    elif path in _FILES:
        name, kind = _FILES[path]
        await exchange.answer(200, [(b"content-type", kind), *_SAFE], _read(name))
    elif path == "profiles":
        settings = parts.settings
        known = {"profiles": settings.playground_profiles, "dashboard_url": settings.dashboard_url}
        await exchange.json(200, known, _SAFE)
    elif path == "metrics":
        parts.metrics.breaker(parts.relevance.breaker_state)
        await exchange.answer(200, [(b"content-type", _METRICS)], parts.metrics.text())
    elif path == "healthz":
        await exchange.json(200, {"status": "ok"}, _SAFE)
    elif path == "readyz":
        await _ready(exchange, parts)
    else:
        await exchange.error(
            404, "not_found", f"There is no page /_csrm/{path}: see /_csrm/ for the playground."
        )


async def _ready(exchange: Exchange, parts: Parts) -> None:
    """Ready means that searches are answered; without relevance they are, only not reranked."""
    opensearch, relevance = await asyncio.gather(
        parts.nodes.reachable(), parts.relevance.ready(parts.settings.models)
    )
    status = "unavailable" if not opensearch else "ready" if relevance.state == "ready" else "degraded"
    told = {"state": relevance.state, "url": parts.settings.relevance.url}
    if relevance.reason:
        told["reason"] = relevance.reason
    state = {
        "status": status,
        "opensearch": {"reachable": opensearch, "urls": parts.nodes.urls},
        "relevance": told,
        "breaker": parts.relevance.breaker_state,
    }
    await exchange.json(200 if opensearch else 503, state, _SAFE)


@cache
def _read(name: str) -> bytes:
    return Path(__file__).with_name("playground").joinpath(name).read_bytes()
