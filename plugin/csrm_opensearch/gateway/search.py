"""``_search``: on an index with a profile the reranked page, on any other OpenSearch's own."""

from __future__ import annotations

from collections.abc import Awaitable

from csrm_opensearch.gateway.exchange import Exchange, unpacked
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.parts import Parts
from csrm_opensearch.gateway.records import Watch
from csrm_opensearch.profiles import Profile
from csrm_opensearch.query_text import Skip
from csrm_opensearch.rerank import Done
from csrm_opensearch.search_answer import pretty, read_answer
from csrm_opensearch.search_request import Params, read_search, without_options
from csrm_opensearch.status import Status, skipped
from csrm_opensearch.traffic import admit

PASS_ON = frozenset({401, 403, 404, 429})
"""Statuses of the window's search that the client's own would get too: passed on, not tried again."""

REPLACED = ("from", "size", "pretty")
"""URL parameters that the gateway sees to itself."""


async def search(exchange: Exchange, packed: bytes, profile: Profile, watch: Watch, parts: Parts) -> None:
    """Answer a search with the reranked page, or with OpenSearch's own and the reason.

    Args:
        exchange: the client's.
        packed: the request's body as it was sent.
        profile: of the index expression.
        watch: of this search; its index is the expression of the path, decoded.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
        UnreachableError, BrokenAnswerError: OpenSearch did not answer.
    """
    body = unpacked(packed, exchange.header(b"content-encoding"))
    if body is None or not exchange.json_expected:
        await parts.nodes.forward(exchange, packed or None, status=watch.told(skipped("format")))
        return
    params = Params(exchange.query_string)
    asked = read_search(body, params, profile)
    plain, repacked = (packed, False) if asked.options is None else (asked.body, True)
    planned, watch.side = admit(asked, profile, exchange.headers)
    watch.read(asked)

    async def forward(status: Status) -> None:
        told = watch.told(status)
        await parts.nodes.forward(exchange, plain or None, status=told, repacked=repacked)

    if watch.variant == "control":  # read all the same, so that both sides say how much was found
        own = await parts.nodes.fetch(exchange, exchange.target, plain or None)
        answer = read_answer(own.body)
        told = watch.told(skipped("control", len(answer.hits) if answer else None))
        await exchange.answer(own.status, [*own.headers, (b"csrm-status", told.encode())], own.body)
        return
    if isinstance(planned, Skip):
        await forward(skipped(planned.reason))
        return
    query_string = params.without(*REPLACED)
    target = exchange.raw_path.decode("latin-1") + (f"?{query_string}" if query_string else "")
    window = await parts.nodes.fetch(exchange, target, planned.window_body())
    watch.opensearch_ms = watch.took_ms
    if window.status in PASS_ON:
        status = (b"csrm-status", watch.told(skipped("opensearch-error")).encode())
        await exchange.answer(window.status, [*window.headers, status], window.body)
        return
    if window.status != 200:
        await forward(skipped("window-rejected"))
        return

    async def ask(body: bytes) -> bytes | None:
        answer = await parts.nodes.fetch(exchange, target, body)
        return answer.body if answer.status == 200 else None

    judging = parts.reranker.page(planned, watch.index.split(","), watch.began, window.body, ask)
    if planned.shadow:
        parts.in_background(in_shadow(judging, watch))
        done = parts.reranker.untouched(planned, window.body)
        told = done.status.header(watch.took_ms, watch.variant)
    else:
        done = await judging
        told = watch.told(done.status)
    if done.body is None:
        await parts.nodes.forward(exchange, plain or None, status=told, repacked=repacked)
        return
    page = pretty(done.body) if params.flag("pretty") else done.body
    await exchange.answer(200, [*window.headers, (b"csrm-status", told.encode())], page)


async def in_shadow(judging: Awaitable[Done], watch: Watch) -> None:
    """Judge a search that is answered already, and record what would have become of it."""
    done = await judging
    watch.told(done.status.as_shadow())


async def foreign_search(exchange: Exchange, packed: bytes, nodes: Nodes) -> None:
    """A search on indices without a profile: passed through, but what it says to the gateway goes no further.

    Raises:
        RequestOptionsError, UnreachableError, BrokenAnswerError: as ``search``.
    """
    plain = for_opensearch(exchange, packed)
    if plain is packed:
        await nodes.forward(exchange, packed or None)
    else:
        status = skipped("no-profile").header(0)
        await nodes.forward(exchange, plain, status=status, repacked=True)


def for_opensearch(exchange: Exchange, packed: bytes) -> bytes:
    """The body of a search without its ``ext.csrm``; ``packed`` itself where it has none.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
    """
    body = unpacked(packed, exchange.header(b"content-encoding")) or b""
    stripped = without_options(body)
    return packed if stripped is None else stripped
