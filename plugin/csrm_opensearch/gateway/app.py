"""The ASGI application: which way each request goes, and which error gets which HTTP status.

Bare ASGI, no framework: most requests only pass, and what they pass costs every search of the shop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable, Coroutine
from urllib.parse import unquote

from csrm_opensearch import request_id
from csrm_opensearch.errors import BodyTooLargeError, BrokenAnswerError, RequestOptionsError, UnreachableError
from csrm_opensearch.gateway.exchange import ClientGoneError, Exchange, Receive, Scope, Send
from csrm_opensearch.gateway.logs import log_fields, requests_log
from csrm_opensearch.gateway.metrics import Metrics
from csrm_opensearch.gateway.msearch import msearch
from csrm_opensearch.gateway.pages import answer_page
from csrm_opensearch.gateway.parts import Parts
from csrm_opensearch.gateway.records import Watch
from csrm_opensearch.gateway.search import for_opensearch, foreign_search, search
from csrm_opensearch.profiles import GatewaySettings, Profile
from csrm_opensearch.status import skipped

log = logging.getLogger(__name__)

Answer = Callable[[bytes], Coroutine[object, object, None]]
"""Answers a request of which the body was read."""


class Gateway:
    """The gateway as an ASGI 3 application. It starts whether or not OpenSearch and the service answer.

    Args:
        settings: to begin with; ``reload`` takes others.
        admin_port: port on which ``/_csrm/`` is answered; on any other it is a path like all others. Null: on
            every port.

    Raises:
        ProfileError: the certificate files or the key of the settings cannot be used.
    """

    def __init__(self, settings: GatewaySettings, *, admin_port: int | None = None) -> None:
        self._admin_port = admin_port
        self._metrics = Metrics()
        self._parts = Parts(settings, self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                self._metrics.requests.inc()
                await self._logged(Exchange(scope, receive, send))
            case "lifespan":
                await self._live(receive, send)
            case _:  # OpenSearch speaks no web sockets
                await send({"type": "websocket.close", "code": 1003})

    async def reload(self, settings: GatewaySettings) -> None:
        """Serve with other settings from now on; searches under way end with those they began with.

        Raises:
            ProfileError: the settings cannot be used; those in force stay.
        """
        parts, old = Parts(settings, self._metrics), self._parts
        await parts.open()
        self._parts = parts
        await old.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._parts.open()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._parts.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _logged(self, exchange: Exchange) -> None:
        """Answer, and log what was asked and answered."""
        began = time.monotonic()
        request_id.begin(exchange.said(b"x-opaque-id"))
        try:
            await self._answer(exchange)
        finally:
            if requests_log.isEnabledFor(logging.INFO):
                fields = {
                    "method": exchange.method,
                    "path": exchange.raw_path.decode("latin-1"),
                    "status": exchange.status,
                    "bytes": exchange.sent,
                    "took_ms": round((time.monotonic() - began) * 1000, 1),
                    "client": exchange.client,
                    "csrm_status": exchange.told or None,
                }
                message = "{method} {path} {status} {took_ms} ms".format_map(fields)
                log_fields(requests_log, message, fields)

    async def _answer(self, exchange: Exchange) -> None:
        """The one place where an error becomes an HTTP status."""
        try:
            with self._parts.used() as parts:
                await self._route(exchange, parts)
        except ClientGoneError:
            log.debug("client gone: %s %s", exchange.method, exchange.raw_path.decode("latin-1"))
        except RequestOptionsError as error:
            await exchange.error(400, "csrm_request_exception", str(error))
        except BrokenAnswerError as error:
            await exchange.error(502, "opensearch_broken_answer_exception", str(error))
        except UnreachableError as error:
            await exchange.error(503, "opensearch_unreachable_exception", str(error))

    async def _route(self, exchange: Exchange, parts: Parts) -> None:
        path = exchange.raw_path.strip(b"/").split(b"/")
        if path[0] == b"_csrm" and self._admin_port in {None, exchange.port}:
            await answer_page(exchange, b"/".join(path[1:]).decode("latin-1"), parts)
            return
        named = path[0] == b"_all" or not path[0].startswith(b"_")
        index = unquote(path.pop(0).decode("latin-1")) if named else ""
        if exchange.method in {"GET", "POST"} and path:
            match path:
                case [b"_search"]:
                    profile = parts.settings.profile_for(index)
                    watch = parts.watch(index, profile)
                    await _read(exchange, parts, watch, _searcher(exchange, parts, profile, watch))
                    return
                case [b"_msearch"]:
                    watch = parts.watch(index, parts.settings.profile_for(index))
                    await _read(
                        exchange, parts, watch, lambda packed: msearch(exchange, packed, index, parts)
                    )
                    return
                case [b"_search", b"template"] if profile := parts.settings.profile_for(index):
                    await _pass(exchange, parts, parts.watch(index, profile).told(skipped("template")))
                    return
        await _pass(exchange, parts)


def _searcher(exchange: Exchange, parts: Parts, profile: Profile | None, watch: Watch) -> Answer:
    if profile is None:
        return lambda packed: foreign_search(exchange, packed, parts.nodes)
    return lambda packed: search(exchange, packed, profile, watch, parts)


async def _pass(exchange: Exchange, parts: Parts, status: str | None = None) -> None:
    """Pass a request through; a body that arrives in pieces goes on in pieces."""
    message = await exchange.receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    head: bytes = message.get("body", b"")
    body: bytes | AsyncIterable[bytes] | None = head or None
    if message.get("more_body"):
        body = exchange.all_chunks(head)
    await parts.nodes.forward(exchange, body, status=status)


async def _read(exchange: Exchange, parts: Parts, watch: Watch, answer: Answer) -> None:
    """Read the body and answer; whatever goes wrong in the gateway itself, the search passes through."""
    try:
        packed = await exchange.body()
    except BodyTooLargeError as error:
        body = exchange.all_chunks(error.head)
        await parts.nodes.forward(exchange, body, status=watch.told(skipped("body-too-large")))
        return
    try:
        await _unless_gone(exchange, answer(packed))
    except (RequestOptionsError, UnreachableError, BrokenAnswerError, ClientGoneError):
        raise
    except Exception:
        log.exception(
            "a search could not be reranked and passes through: %s", exchange.raw_path.decode("latin-1")
        )
        status = watch.told(skipped("internal-error"))
        if not exchange.started:
            plain = for_opensearch(exchange, packed)
            await parts.nodes.forward(exchange, plain or None, status=status, repacked=plain is not packed)


async def _unless_gone(exchange: Exchange, work: Coroutine[object, object, None]) -> None:
    """Do some work for a client whose request is read, and drop it as soon as the client hangs up.

    It is done in the task of the request itself: a task of its own costs every search.

    Raises:
        ClientGoneError: the client hung up; the work was cancelled and has let go of its connections.
    """
    task, gone = asyncio.current_task(), False
    assert task is not None

    async def leave() -> None:
        nonlocal gone
        await exchange.receive()
        gone = True
        task.cancel()

    leaving = asyncio.ensure_future(leave())
    try:
        await work
    except (asyncio.CancelledError, Exception) as error:
        if not gone:
            raise
        log.debug("cancelled: %r", error)
        raise ClientGoneError from None
    finally:
        leaving.cancel()
        if gone:
            task.uncancel()
