"""The ASGI application: which way each request goes, and which error gets which HTTP status.

Bare ASGI, no framework: most requests only pass, and what they pass costs every search of the shop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from urllib.parse import unquote

from csrm_opensearch.errors import BodyTooLargeError, BrokenAnswerError, RequestOptionsError, UnreachableError
from csrm_opensearch.gateway.exchange import ClientGoneError, Exchange, Receive, Scope, Send
from csrm_opensearch.gateway.msearch import msearch
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.pages import Pages
from csrm_opensearch.gateway.rerank import Reranker, skipped
from csrm_opensearch.gateway.search import foreign_search, search
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.recent import RecentJudgments
from csrm_opensearch.relevance_client import RelevanceClient

log = logging.getLogger(__name__)

Answer = Callable[[bytes], Coroutine[object, object, None]]
"""Answers a request of which the body was read."""


class Gateway:
    """The gateway as an ASGI 3 application. It starts whether or not OpenSearch and the service answer."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._nodes = Nodes(settings.opensearch)
        self._relevance = RelevanceClient(settings.relevance)
        self._reranker = Reranker(self._relevance, RecentJudgments())
        self._pages = Pages(settings, self._nodes, self._relevance)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._answer(Exchange(scope, receive, send))
            case "lifespan":
                await self._live(receive, send)
            case _:  # OpenSearch speaks no web sockets
                await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._stack.enter_async_context(self._nodes)
                await self._stack.enter_async_context(self._relevance)
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._stack.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, exchange: Exchange) -> None:
        """The one place where an error becomes an HTTP status."""
        try:
            await self._route(exchange)
        except ClientGoneError:
            log.debug("client gone: %s %s", exchange.method, exchange.target)
        except RequestOptionsError as error:
            await exchange.error(400, "csrm_request_exception", str(error))
        except BrokenAnswerError as error:
            await exchange.error(502, "opensearch_broken_answer_exception", str(error))
        except UnreachableError as error:
            await exchange.error(503, "opensearch_unreachable_exception", str(error))

    async def _route(self, exchange: Exchange) -> None:
        parts = exchange.raw_path.strip(b"/").split(b"/")
        if parts[0] == b"_csrm":
            await self._pages.answer(exchange, b"/".join(parts[1:]).decode("latin-1"))
            return
        index = "" if parts[0].startswith(b"_") else unquote(parts.pop(0).decode("latin-1"))
        if exchange.method in {"GET", "POST"} and parts:
            match parts:
                case [b"_search"]:
                    await self._read(exchange, self._searcher(exchange, index))
                    return
                case [b"_msearch"]:
                    await self._read(
                        exchange,
                        lambda packed: msearch(
                            exchange, packed, index, self._settings, self._nodes, self._reranker
                        ),
                    )
                    return
                case [b"_search", b"template"] if self._settings.profile_for(index):
                    await self._pass(exchange, status=skipped("template"))
                    return
        await self._pass(exchange)

    def _searcher(self, exchange: Exchange, index: str) -> Answer:
        profile = self._settings.profile_for(index)
        if profile is None:
            return lambda packed: foreign_search(exchange, packed, self._nodes)
        return lambda packed: search(exchange, packed, index, profile, self._nodes, self._reranker)

    async def _pass(self, exchange: Exchange, status: str | None = None) -> None:
        """Pass a request through; a body that arrives in pieces goes on in pieces."""
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        head: bytes = message.get("body", b"")
        body: bytes | AsyncIterable[bytes] | None = head or None
        if message.get("more_body"):
            body = exchange.all_chunks(head)
        await self._nodes.forward(exchange, body, status=status)

    async def _read(self, exchange: Exchange, answer: Answer) -> None:
        """Read the body and answer; whatever goes wrong in the gateway itself, the search passes through."""
        try:
            packed = await exchange.body()
        except BodyTooLargeError as error:
            body = exchange.all_chunks(error.head)
            await self._nodes.forward(exchange, body, status=skipped("body-too-large"))
            return
        try:
            await _unless_gone(exchange, answer(packed))
        except (RequestOptionsError, UnreachableError, BrokenAnswerError, ClientGoneError):
            raise
        except Exception:
            log.exception(
                "a search could not be reranked and passes through: %s", exchange.raw_path.decode("latin-1")
            )
            if not exchange.started:
                await self._nodes.forward(exchange, packed or None, status=skipped("internal-error"))


async def _unless_gone(exchange: Exchange, work: Coroutine[object, object, None]) -> None:
    """Do some work for a client whose request is read, and drop it as soon as the client hangs up.

    Raises:
        ClientGoneError: the client hung up; the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(exchange.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        await task
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await _ended(task)


async def _ended(task: Awaitable[None]) -> None:
    """Wait until cancelled work has let go of its connections."""
    try:
        await task
    except (asyncio.CancelledError, Exception) as error:
        log.debug("cancelled: %r", error)
