"""``_msearch``: each search of the batch goes its own way, in one request to OpenSearch and one answer.

The windows of all searches that can be reranked are fetched in one ``_msearch``; so are those originals that
are needed after all. A batch in which there is nothing to rerank passes through as it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from csrm_opensearch.gateway.exchange import Exchange, unpacked
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.rerank import Done, Reranker, skipped
from csrm_opensearch.gateway.search import PASS_ON, REPLACED, without_options
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.query_text import Skip
from csrm_opensearch.search_request import Members, Params, Search, encode, members_decoder, read_search

_answers_decoder = msgspec.json.Decoder(list[Raw])


@dataclass(frozen=True)
class _Item:
    """One search of a batch: its header line, its own body, and what was read of it (null: no profile)."""

    header: bytes
    body: bytes
    changed: bool
    indices: tuple[str, ...]
    search: Search | Skip | None

    def own(self) -> bytes:
        return self.header + b"\n" + self.body + b"\n"

    def first(self) -> bytes:
        """What is asked first: the window where there is one to judge."""
        if isinstance(self.search, Search):
            return self.header + b"\n" + self.search.window_body() + b"\n"
        return self.own()


async def msearch(
    exchange: Exchange,
    packed: bytes,
    expression: str,
    settings: GatewaySettings,
    nodes: Nodes,
    reranker: Reranker,
) -> None:
    """Answer a batch of searches.

    Args:
        exchange: the client's.
        packed: the request's body as it was sent.
        expression: the index expression of the path, for searches that name none; may be empty.

    Raises:
        RequestOptionsError: the ``ext.csrm`` of a search is wrong.
        UnreachableError, BrokenAnswerError: OpenSearch did not answer.
    """
    began = time.monotonic()
    body = unpacked(packed, exchange.header(b"content-encoding"))
    params = Params(exchange.query_string)
    readable = body is not None and exchange.json_expected and params.get("filter_path") is None
    items = _read(body, expression, settings) if body is not None and readable else None
    if items is None or not any(item.search or item.changed for item in items):
        await nodes.forward(exchange, packed or None)
        return
    own = b"".join(item.own() for item in items)
    plain, repacked = (own, True) if any(item.changed for item in items) else (packed, False)
    if not any(isinstance(item.search, Search) for item in items):
        await nodes.forward(exchange, plain, status=_status(items, {}, began), repacked=repacked)
        return
    query_string = params.without(*REPLACED)
    target = exchange.raw_path.decode("latin-1") + (f"?{query_string}" if query_string else "")

    async def ask(bodies: Sequence[bytes]) -> tuple[Members, list[Raw], Any] | None:
        fetched = await nodes.fetch(exchange, target, b"".join(bodies))
        answers = _answers(fetched.body) if fetched.status == 200 else None
        if answers is None or len(answers[1]) != len(bodies):
            return None
        return *answers, fetched.headers

    first = await ask([item.first() for item in items])
    if first is None:
        await nodes.forward(exchange, plain, status=skipped("window-rejected"), repacked=repacked)
        return
    around, answers, headers = first

    async def page(place: int) -> Done:
        item, search = items[place], items[place].search
        assert isinstance(search, Search)

        async def ask_again(body: bytes) -> bytes | None:
            answer = await ask([item.header + b"\n" + body + b"\n"])
            return bytes(answer[1][0]) if answer and _item_status(answer[1][0]) == 200 else None

        if _item_status(answers[place]) in PASS_ON:
            return Done(bytes(answers[place]), skipped("opensearch-error"))
        return await reranker.page(search, item.indices, began, answers[place], ask_again)

    places = [place for place, item in enumerate(items) if isinstance(item.search, Search)]
    async with asyncio.TaskGroup() as group:
        tasks = {place: group.create_task(page(place)) for place in places}
    done = {place: task.result() for place, task in tasks.items()}
    for place, result in done.items():
        if result.body is not None:
            answers[place] = Raw(result.body)
    if again := [place for place, result in done.items() if result.body is None]:
        second = await ask([items[place].own() for place in again])
        if second is None:
            await nodes.forward(exchange, plain, status=skipped("window-rejected"), repacked=repacked)
            return
        for place, raw in zip(again, second[1], strict=True):
            answers[place] = raw
    whole = encode({**around, "responses": answers})
    whole = msgspec.json.format(whole, indent=2) + b"\n" if params.flag("pretty") else whole
    status = (b"csrm-status", _status(items, done, began).encode())
    await exchange.answer(200, [*headers, status], whole)


def _read(body: bytes, expression: str, settings: GatewaySettings) -> list[_Item] | None:
    """The searches of a batch; null where OpenSearch has to say what is wrong with it."""
    lines = body.split(b"\n")
    if lines.pop() or len(lines) % 2:  # the last line ends with a newline, too
        return None
    items = []
    for header, search_body in zip(lines[::2], lines[1::2], strict=True):
        try:
            index = msgspec.json.decode(header, type=dict[str, Any]).get("index") if header.strip() else None
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        names = ",".join(map(str, index)) if isinstance(index, list) else str(index or expression)
        profile = settings.profile_for(names) if names else None
        if profile is None:
            stripped = without_options(search_body)
            items.append(_Item(header, stripped or search_body, stripped is not None, (), None))
            continue
        asked = read_search(search_body, Params(b""), profile)
        items.append(
            _Item(header, asked.body, asked.options is not None, tuple(names.split(",")), asked.search)
        )
    return items


def _answers(body: bytes) -> tuple[Members, list[Raw]] | None:
    try:
        members = members_decoder.decode(body)
        return members, _answers_decoder.decode(members["responses"])
    except (msgspec.MsgspecError, KeyError, UnicodeError):
        return None


def _item_status(answer: Raw) -> int:
    """The HTTP status of one answer of a batch."""
    status = msgspec.json.decode(members_decoder.decode(answer).get("status", Raw(b"200")))
    return status if isinstance(status, int) else 200


def _status(items: Sequence[_Item], done: dict[int, Done], began: float) -> str:
    """One ``csrm-status`` for the batch: how many were reranked, and the reasons of those that were not."""
    reranked = [result for result in done.values() if result.status.startswith("reranked")]
    reasons = [item.search.reason for item in items if isinstance(item.search, Skip)]
    reasons += [
        r.status.partition("reason=")[2] for r in done.values() if not r.status.startswith("reranked")
    ]
    why = ",".join(dict.fromkeys(reasons))
    if not reranked:
        return skipped(why or "no-profile")
    took = round((time.monotonic() - began) * 1000)
    return f"reranked; searches={len(reranked)}/{len(items)}; took={took}" + (
        f"; skipped={why}" if why else ""
    )
