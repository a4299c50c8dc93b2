"""opensearch-py with better pages, for applications that would not run a proxy: the gateway's rules in-process.

    client = RerankingClient(OpenSearch(...), profile, "http://127.0.0.1:8000")
    page = client.search(index="shop-ko", body={...})      # page.csrm_status: "reranked; window=100; ..."

``search`` and ``msearch`` are reranked; every other name is the wrapped client's own. What raises there raises here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import OpenSearchException, TransportError

from csrm_opensearch.profiles import GatewaySettings, Profile, RelevanceSettings
from csrm_opensearch.query_text import Skip
from csrm_opensearch.recent import RecentJudgments
from csrm_opensearch.relevance_client import RelevanceClient
from csrm_opensearch.rerank import Done, Reranker
from csrm_opensearch.search_request import Params, Search, read_search, without_options
from csrm_opensearch.status import skipped
from csrm_opensearch.traffic import admit

T = TypeVar("T")

Ask = Callable[..., Awaitable[Any]]
"""``search`` or ``msearch`` of the wrapped client, with its arguments."""


class SearchResult(dict[str, Any]):
    """OpenSearch's answer; ``csrm_status`` says what became of the search, as the gateway's header does."""

    csrm_status: str = ""


class _Core:
    """The way of a search, over any client of opensearch-py."""

    def __init__(self, profiles: Profile | Sequence[Profile], relevance: RelevanceSettings | str) -> None:
        listed = [profiles] if isinstance(profiles, Profile) else list(profiles)
        self._settings = GatewaySettings(profiles=listed)
        self.service = RelevanceClient(
            RelevanceSettings(url=relevance) if isinstance(relevance, str) else relevance
        )
        self._reranker = Reranker(self.service, RecentJudgments())

    async def search(
        self, ask: Ask, serializer: Any, body: Any, index: Any, params: Mapping[str, Any]
    ) -> SearchResult:
        began = time.monotonic()
        names = _names(index)
        sent = _bytes(serializer, body)
        planned, sent = self._read(sent, names, params)
        if isinstance(planned, Skip):
            return _result(
                await ask(body=sent or None, index=index, **params), skipped(planned.reason).header(0)
            )
        rest = {name: value for name, value in params.items() if name not in {"from", "from_", "size"}}

        async def further(asked: bytes) -> bytes | None:
            try:
                return _bytes(serializer, await ask(body=asked, index=index, **rest))
            except OpenSearchException:
                return None

        try:
            window = _bytes(serializer, await ask(body=planned.window_body(), index=index, **rest))
        except TransportError as error:
            if error.status_code in {401, 403, 404, 429}:
                raise
            done = Done(None, skipped("window-rejected"))
        else:
            done = await self._reranker.page(planned, names.split(","), began, window, further)
        status = done.status.header((time.monotonic() - began) * 1000)
        if done.body is None:
            return _result(await ask(body=sent or None, index=index, **params), status)
        return _result(serializer.loads(done.body), status)

    async def msearch(
        self, ask: Ask, serializer: Any, body: Any, index: Any, params: Mapping[str, Any]
    ) -> SearchResult:
        began = time.monotonic()
        lines = _lines(serializer, body)
        if len(lines) % 2 or "filter_path" in params:
            return _result(await ask(body=body, index=index, **params), skipped("body-not-json").header(0))
        headers = [msgspec.json.decode(line or b"{}") for line in lines[::2]]
        names = [_names(header.get("index") or index) for header in headers]
        read = [
            self._read(sent, name, {"headers": params.get("headers")})
            for sent, name in zip(lines[1::2], names, strict=True)
        ]
        own = [sent for _, sent in read]

        async def ask_all(bodies: Mapping[int, bytes]) -> list[Any]:
            batch = b"".join(lines[2 * place] + b"\n" + sent + b"\n" for place, sent in bodies.items())
            answer = await ask(body=batch, index=index, **params)
            responses: list[Any] = answer["responses"]
            return responses

        first = {
            place: planned.window_body() if isinstance(planned, Search) else sent
            for place, (planned, sent) in enumerate(read)
        }
        responses = await ask_all(first)

        async def page(place: int, planned: Search) -> Done:
            async def further(asked: bytes) -> bytes | None:
                (answer,) = await ask_all({place: asked})
                return None if "error" in answer else _bytes(serializer, answer)

            window = _bytes(serializer, responses[place])
            return await self._reranker.page(planned, names[place].split(","), began, window, further)

        pages = {place: planned for place, (planned, _) in enumerate(read) if isinstance(planned, Search)}
        done = dict(zip(pages, await asyncio.gather(*(page(*one) for one in pages.items())), strict=True))
        if again := {place: own[place] for place, one in done.items() if one.body is None}:
            for place, answer in zip(again, await ask_all(again), strict=True):
                responses[place] = answer
        for place, one in done.items():
            if one.body is not None:
                responses[place] = serializer.loads(one.body)
        took = (time.monotonic() - began) * 1000
        told = []
        for place, (planned, _) in enumerate(read):
            status = skipped(planned.reason) if isinstance(planned, Skip) else done[place].status
            told.append(_result(responses[place], status.header(took)))
        reranked = sum(one.status.kind == "reranked" for one in done.values())
        whole = f"reranked; searches={reranked}/{len(told)}; took={took:.0f}"
        return _result({"took": round(took), "responses": told}, whole)

    def _read(self, sent: bytes, names: str, params: Mapping[str, Any]) -> tuple[Search | Skip, bytes]:
        """The search, or why it is left alone; and the body that OpenSearch gets then."""
        profile = self._settings.profile_for(names)
        if profile is None:
            return Skip("no-profile"), without_options(sent) or sent
        asked = read_search(sent, Params(_query_string(params)), profile)
        headers = (params.get("headers") or {}).items()
        planned, _ = admit(asked, profile, [(key.lower().encode(), value.encode()) for key, value in headers])
        if isinstance(planned, Search) and planned.shadow:
            planned = Skip("shadow-needs-gateway")
        return planned, asked.body


class AsyncRerankingClient:
    """``AsyncOpenSearch`` with reranked and filtered searches. Use as an async context manager.

    Args:
        client: the wrapped client; closed with this one.
        profiles: for which indices, and how.
        relevance: URL of the relevance service, or its settings.
    """

    def __init__(
        self,
        client: AsyncOpenSearch,
        profiles: Profile | Sequence[Profile],
        relevance: RelevanceSettings | str,
    ) -> None:
        self._client = client
        self._core = _Core(profiles, relevance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def __aenter__(self) -> AsyncRerankingClient:
        await self._core.service.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._core.service.__aexit__()
        await self._client.close()

    async def search(self, *, body: Any = None, index: Any = None, **params: Any) -> SearchResult:
        """As ``AsyncOpenSearch.search``.

        Raises:
            RequestOptionsError: ``ext.csrm`` of the body is wrong.
            OpenSearchException: what the wrapped client raises.
        """
        serializer = self._client.transport.serializer
        return await self._core.search(self._client.search, serializer, body, index, _flat(params))

    async def msearch(self, *, body: Any, index: Any = None, **params: Any) -> SearchResult:
        """As ``AsyncOpenSearch.msearch``; each response has its own ``csrm_status``. Raises as ``search``."""
        serializer = self._client.transport.serializer
        return await self._core.msearch(self._client.msearch, serializer, body, index, _flat(params))


class RerankingClient:
    """``OpenSearch`` with reranked and filtered searches; may be used from several threads.

    The judgments are asked for on a thread of its own, which ends with ``close``.

    Args:
        client: the wrapped client; closed with this one.
        profiles: for which indices, and how.
        relevance: URL of the relevance service, or its settings.
    """

    def __init__(
        self, client: OpenSearch, profiles: Profile | Sequence[Profile], relevance: RelevanceSettings | str
    ) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="csrm-reranking", daemon=True)
        self._thread.start()
        self._core = _Core(profiles, relevance)
        self._wait(self._core.service.__aenter__())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __enter__(self) -> RerankingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._wait(self._core.service.__aexit__())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._client.close()

    def search(self, *, body: Any = None, index: Any = None, **params: Any) -> SearchResult:
        """As ``OpenSearch.search``.

        Raises:
            RequestOptionsError: ``ext.csrm`` of the body is wrong.
            OpenSearchException: what the wrapped client raises.
        """
        serializer = self._client.transport.serializer
        ask = _in_thread(self._client.search)
        return self._wait(self._core.search(ask, serializer, body, index, _flat(params)))

    def msearch(self, *, body: Any, index: Any = None, **params: Any) -> SearchResult:
        """As ``OpenSearch.msearch``; each response has its own ``csrm_status``. Raises as ``search``."""
        serializer = self._client.transport.serializer
        ask = _in_thread(self._client.msearch)
        return self._wait(self._core.msearch(ask, serializer, body, index, _flat(params)))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _in_thread(method: Callable[..., Any]) -> Ask:
    async def ask(**arguments: Any) -> Any:
        return await asyncio.to_thread(method, **arguments)

    return ask


def _result(answer: Mapping[str, Any], status: str) -> SearchResult:
    result = SearchResult(answer)
    result.csrm_status = status
    return result


def _names(index: Any) -> str:
    return ",".join(map(str, index)) if isinstance(index, list | tuple) else str(index or "")


def _bytes(serializer: Any, value: Any) -> bytes:
    if value is None:
        return b""
    text = serializer.dumps(value)
    return text if isinstance(text, bytes) else text.encode()


def _lines(serializer: Any, body: Any) -> list[bytes]:
    """The lines of a batch, given as text or as a list of objects."""
    if isinstance(body, str | bytes):
        lines = _bytes(serializer, body).split(b"\n")
        return lines[:-1] if lines[-1] == b"" else lines
    return [_bytes(serializer, part) for part in body]


def _flat(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a call; opensearch-py takes them by name and in ``params``."""
    return {**(params.pop("params", None) or {}), **params}


def _query_string(params: Mapping[str, Any]) -> bytes:
    """The parameters as the URL has them."""
    pairs = {
        name.removesuffix("_") if name == "from_" else name: value
        for name, value in params.items()
        if value is not None and name != "headers"
    }
    return urlencode({name: _written(value) for name, value in pairs.items()}).encode()


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
