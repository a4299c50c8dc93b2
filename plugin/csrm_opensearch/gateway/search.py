"""``_search``: on an index with a profile the reranked page, on any other OpenSearch's own."""

from __future__ import annotations

import time

import msgspec

from csrm_opensearch.gateway.exchange import Exchange, unpacked
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.rerank import Reranker, skipped
from csrm_opensearch.profiles import Profile
from csrm_opensearch.query_text import Skip
from csrm_opensearch.search_request import Params, encode, members_decoder, read_search, take_options

PASS_ON = frozenset({401, 403, 404, 429})
"""Statuses of the window's search that the client's own would get too: passed on, not tried again."""

REPLACED = ("from", "size", "pretty")
"""URL parameters that the gateway sees to itself."""


async def search(
    exchange: Exchange, packed: bytes, expression: str, profile: Profile, nodes: Nodes, reranker: Reranker
) -> None:
    """Answer a search with the reranked page, or with OpenSearch's own and the reason.

    Args:
        exchange: the client's.
        packed: the request's body as it was sent.
        expression: the index expression of the path, decoded.
        profile: of the index expression.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
        UnreachableError, BrokenAnswerError: OpenSearch did not answer.
    """
    began = time.monotonic()
    body = unpacked(packed, exchange.header(b"content-encoding"))
    if body is None or not exchange.json_expected:
        await nodes.forward(exchange, packed or None, status=skipped("format"))
        return
    params = Params(exchange.query_string)
    asked = read_search(body, params, profile)
    plain, repacked = (packed, False) if asked.options is None else (asked.body, True)

    async def forward(status: str) -> None:
        await nodes.forward(exchange, plain or None, status=status, repacked=repacked)

    if isinstance(asked.search, Skip):
        await forward(skipped(asked.search.reason))
        return
    query_string = params.without(*REPLACED)
    target = exchange.raw_path.decode("latin-1") + (f"?{query_string}" if query_string else "")
    window = await nodes.fetch(exchange, target, asked.search.window_body())
    if window.status in PASS_ON:
        status = (b"csrm-status", skipped("opensearch-error").encode())
        await exchange.answer(window.status, [*window.headers, status], window.body)
        return
    if window.status != 200:
        await forward(skipped("window-rejected"))
        return

    async def ask(body: bytes) -> bytes | None:
        answer = await nodes.fetch(exchange, target, body)
        return answer.body if answer.status == 200 else None

    done = await reranker.page(asked.search, expression.split(","), began, window.body, ask)
    if done.body is None:
        await forward(done.status)
        return
    page = msgspec.json.format(done.body, indent=2) + b"\n" if params.flag("pretty") else done.body
    await exchange.answer(200, [*window.headers, (b"csrm-status", done.status.encode())], page)


async def foreign_search(exchange: Exchange, packed: bytes, nodes: Nodes) -> None:
    """A search on indices without a profile: passed through, but what it says to the gateway goes no further.

    Raises:
        RequestOptionsError, UnreachableError, BrokenAnswerError: as ``search``.
    """
    body = unpacked(packed, exchange.header(b"content-encoding")) or b""
    stripped = without_options(body)
    if stripped is None:
        await nodes.forward(exchange, packed or None)
    else:
        await nodes.forward(exchange, stripped, status=skipped("no-profile"), repacked=True)


def without_options(body: bytes) -> bytes | None:
    """A search body without its ``ext.csrm``; null where it has none, or is not JSON.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
    """
    if b'"csrm"' not in body:
        return None
    try:
        members = members_decoder.decode(body)
        return encode(members) if take_options(members) is not None else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
