"""The OpenSearch nodes behind the gateway: streams requests through untouched, or fetches a whole answer.

Knows HTTP and failover between nodes; knows nothing of searches.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Collection
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from csrm_opensearch.errors import BrokenAnswerError, UnreachableError
from csrm_opensearch.gateway.exchange import Exchange, Headers
from csrm_opensearch.profiles import OpenSearchSettings
from csrm_opensearch.sessions import Sessions
from csrm_opensearch.tls import tls_context

log = logging.getLogger(__name__)

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade".split()
)
"""Headers of one connection, not of the request (RFC 9110, 7.6.1)."""
_OURS = frozenset({b"host", b"expect"})
"""Headers that the connection to the node has its own of."""
_NOT_SENT = _HOP_BY_HOP | _OURS
_PACKING = frozenset({b"content-length", b"content-encoding"})

PROBE_SECONDS = 1.0
"""How long a node may take to show that it is there."""

_READ_WHOLE = 256 * 1024
"""Answers up to so many bytes are sent in one piece."""


@dataclass(frozen=True)
class Fetched:
    """A whole answer. ``headers`` are those worth passing on, without those of length and packing."""

    status: int
    headers: Headers
    body: bytes


class Nodes:
    """Connections to the OpenSearch nodes. Use as an async context manager."""

    def __init__(self, settings: OpenSearchSettings) -> None:
        self._urls = [url.rstrip("/") for url in settings.urls]
        self._connect_timeout = settings.connect_timeout_ms / 1000
        self._ssl = tls_context(settings) or True
        self._first = 0
        self._sessions: Sessions | None = None

    @property
    def urls(self) -> list[str]:
        return self._urls

    async def __aenter__(self) -> Nodes:
        self._sessions = Sessions(
            limit=0,
            ssl=self._ssl,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sessions:
            await self._sessions.close()

    async def forward(
        self,
        exchange: Exchange,
        body: bytes | AsyncIterable[bytes] | None,
        *,
        status: str | None = None,
        repacked: bool = False,
    ) -> None:
        """Pass a request through and stream the answer back, byte for byte.

        Args:
            exchange: the client's.
            body: the request's, whole or as it arrives; null where it has none.
            status: value of ``csrm-status``, where the request was one the gateway looked at.
            repacked: the body is not the client's bytes any more; its length and encoding headers do not fit.

        Raises:
            UnreachableError: before any byte was answered.
            BrokenAnswerError: before any byte was answered; later the answer breaks off, as OpenSearch's did.
        """
        headers = _request_headers(exchange.headers, _PACKING if repacked else ())
        response, _ = await self._send(exchange.method, exchange.target, headers, body)
        try:
            out = _answer_headers(response, ())
            if status is not None:
                out.append((b"csrm-status", status.encode()))
            length = response.content_length
            if exchange.method == "HEAD" or (length is not None and length <= _READ_WHOLE):
                whole = await response.read()
                await exchange.start(response.status, out)
                await exchange.write(whole)
                return
            await exchange.start(response.status, out)
            async for chunk in response.content.iter_any():
                await exchange.write(chunk, more=True)
            await exchange.write(b"")
        except (aiohttp.ClientError, OSError) as error:
            if exchange.started:
                log.warning("OpenSearch broke off an answer: %s", error)
            else:
                raise BrokenAnswerError(f"OpenSearch at {response.url.origin()} hung up: {error}") from error
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def fetch(self, exchange: Exchange, target: str, body: bytes | None) -> Fetched:
        """Ask with another body on behalf of the client: its method, its credentials, its other headers.

        Raises:
            UnreachableError, BrokenAnswerError: no answer.
        """
        headers = _request_headers(exchange.headers, _PACKING | {b"accept-encoding"})
        if body is not None:
            headers.setdefault("content-type", "application/json")
        first = None
        for last in (False, True):  # a search only reads: asked again where a node hung up in its answer
            response, place = await self._send(exchange.method, target, headers, body, first)
            try:
                whole = await response.read()
                break
            except (aiohttp.ClientError, OSError) as error:
                if last:
                    raise BrokenAnswerError(
                        f"OpenSearch at {response.url.origin()} hung up: {error}"
                    ) from error
                first = place + 1
            finally:
                response.release()
        return Fetched(response.status, _answer_headers(response, _PACKING), whole)

    async def reachable(self) -> bool:
        """Whether any node answers at all; one that asks for credentials does."""
        assert self._sessions is not None, "use 'async with'"
        for url in self._urls:
            try:
                async with self._sessions.kept.head(url, timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS)):
                    return True
            except (aiohttp.ClientError, OSError, TimeoutError):
                continue
        return False

    async def _send(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None,
        first: int | None = None,
    ) -> tuple[aiohttp.ClientResponse, int]:
        """The answer of the first node that can be reached, and the node's place among the URLs.

        Begins with ``first``, by default the one that answered last.

        A request that a node may have begun to carry out is sent to another only if it just reads; with one
        node that other is the same node, on a fresh connection.
        """
        assert self._sessions is not None, "use 'async with'"
        again = _only_reads(method, target) and not isinstance(body, AsyncIterable)
        problem: Exception | None = None
        session = self._sessions.kept
        first = self._first if first is None else first  # others' requests may change it meanwhile
        for turn in range(max(2, len(self._urls)) if again else len(self._urls)):
            place = (first + turn) % len(self._urls)
            url = URL(self._urls[place] + target, encoded=True)
            try:
                response = await session.request(
                    method, url, data=body, headers=headers, allow_redirects=False
                )
            except (
                aiohttp.ClientConnectorError,
                aiohttp.ConnectionTimeoutError,
            ) as error:  # nothing was sent yet
                problem = error
                continue
            except (aiohttp.ClientError, OSError) as error:
                what = str(error) or type(error).__name__
                problem = BrokenAnswerError(
                    f"OpenSearch at {self._urls[place]} hung up before it answered: {what}"
                )
                if not again:
                    raise problem from error
                session = self._sessions.fresh  # the other kept connections may be closed as well
                continue
            self._first = place
            return response, place
        if isinstance(problem, BrokenAnswerError):
            raise problem
        nodes = " or ".join(self._urls)
        raise UnreachableError(
            f"No connection to OpenSearch at {nodes}: start it or correct its address."
        ) from problem


def _only_reads(method: str, target: str) -> bool:
    """Whether a request changes nothing in OpenSearch, so that it can be sent twice."""
    return method in {"GET", "HEAD"} or target.partition("?")[0].rpartition("/")[2] in {
        "_search",
        "_msearch",
        "_count",
    }


def _request_headers(headers: Headers, but: Collection[bytes]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name.decode("latin-1"), _written(value)) for name, value in _without(headers, _NOT_SENT, but)
    )


def _written(value: bytes) -> str:
    """A header's value so that aiohttp, which writes UTF-8, sends the bytes that came."""
    try:
        return value.decode()
    except UnicodeDecodeError:  # Latin-1, which cannot be sent: reaches OpenSearch as UTF-8
        return value.decode("latin-1")


def _answer_headers(response: aiohttp.ClientResponse, but: Collection[bytes]) -> Headers:
    headers = [(name.lower(), value) for name, value in response.raw_headers]
    return _without(headers, _HOP_BY_HOP, but)


def _without(headers: Headers, names: frozenset[bytes], but: Collection[bytes]) -> Headers:
    """Headers but those of some names and those that ``Connection`` names as its own."""
    left_out = names.union(but) if but else names
    for name, value in headers:
        if name == b"connection":
            left_out = left_out.union(part.strip().lower() for part in value.split(b","))
    return [header for header in headers if header[0] not in left_out]
