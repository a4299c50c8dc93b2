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

from csrm_opensearch.gateway.exchange import Exchange, Headers, unpacked
from csrm_opensearch.gateway.parts import Parts
from csrm_opensearch.gateway.records import Watch
from csrm_opensearch.gateway.search import PASS_ON, REPLACED, in_shadow
from csrm_opensearch.query_text import Skip
from csrm_opensearch.rerank import Done
from csrm_opensearch.search_answer import pretty, read_answer
from csrm_opensearch.search_request import (
    Members,
    Params,
    Search,
    encode,
    members_decoder,
    read_search,
    without_options,
)
from csrm_opensearch.status import skipped
from csrm_opensearch.traffic import admit

_answers_decoder = msgspec.json.Decoder(list[Raw])


@dataclass(frozen=True)
class _Item:
    """One search of a batch: its header line, its own body, and what was read of it (null: no profile)."""

    header: bytes
    body: bytes
    changed: bool
    search: Search | Skip | None
    watch: Watch

    def own(self) -> bytes:
        return self.header + b"\n" + self.body + b"\n"

    def first(self) -> bytes:
        """What is asked first: the window where there is one to judge."""
        if isinstance(self.search, Search):
            return self.header + b"\n" + self.search.window_body() + b"\n"
        return self.own()


async def msearch(exchange: Exchange, packed: bytes, expression: str, parts: Parts) -> None:
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
    nodes = parts.nodes
    body = unpacked(packed, exchange.header(b"content-encoding"))
    params = Params(exchange.query_string)
    readable = body is not None and exchange.json_expected and params.get("filter_path") is None
    items = _read(body, expression, exchange.headers, parts) if body is not None and readable else None
    if items is None or not any(item.search or item.changed for item in items):
        await nodes.forward(exchange, packed or None)
        return
    own = b"".join(item.own() for item in items)
    plain, repacked = (own, True) if any(item.changed for item in items) else (packed, False)
    if not any(isinstance(item.search, Search) for item in items):
        _tell_skipped(items)
        await nodes.forward(exchange, plain, status=_status(items, {}, began), repacked=repacked)
        return
    query_string = params.without(*REPLACED)
    target = exchange.raw_path.decode("latin-1") + (f"?{query_string}" if query_string else "")

    async def forward_rejected(places: Sequence[int]) -> None:
        _tell_skipped(items)
        rejected = skipped("window-rejected")
        for place in places:
            items[place].watch.told(rejected)
        await nodes.forward(exchange, plain, status=rejected.header(0), repacked=repacked)

    async def ask(bodies: Sequence[bytes]) -> tuple[Members, list[Raw], Any] | None:
        fetched = await nodes.fetch(exchange, target, b"".join(bodies))
        answers = _answers(fetched.body) if fetched.status == 200 else None
        if answers is None or len(answers[1]) != len(bodies):
            return None
        return *answers, fetched.headers

    places = [place for place, item in enumerate(items) if isinstance(item.search, Search)]
    first = await ask([item.first() for item in items])
    if first is None:
        await forward_rejected(places)
        return
    around, answers, headers = first

    async def page(place: int) -> Done:
        item, search, watch = items[place], items[place].search, items[place].watch
        assert isinstance(search, Search)
        watch.opensearch_ms = watch.took_ms

        async def ask_again(body: bytes) -> bytes | None:
            answer = await ask([item.header + b"\n" + body + b"\n"])
            return bytes(answer[1][0]) if answer and _item_status(answer[1][0]) == 200 else None

        if _item_status(answers[place]) in PASS_ON:
            return Done(bytes(answers[place]), skipped("opensearch-error"))
        judging = parts.reranker.page(search, watch.index.split(","), began, answers[place], ask_again)
        if search.shadow:
            parts.in_background(in_shadow(judging, watch))
            return parts.reranker.untouched(search, answers[place])
        return await judging

    async with asyncio.TaskGroup() as group:
        tasks = {place: group.create_task(page(place)) for place in places}
    done = {place: task.result() for place, task in tasks.items()}
    for place, result in done.items():
        if result.body is not None:
            answers[place] = Raw(result.body)
    if again := [place for place, result in done.items() if result.body is None]:
        second = await ask([items[place].own() for place in again])
        if second is None:
            await forward_rejected(places)
            return
        for place, raw in zip(again, second[1], strict=True):
            answers[place] = raw
    _tell_skipped(items, answers)
    for place, result in done.items():
        if result.status.kind != "shadow":  # that is told when it is judged
            items[place].watch.told(result.status)
    whole = encode({**around, "responses": answers})
    whole = pretty(whole) if params.flag("pretty") else whole
    status = (b"csrm-status", _status(items, done, began).encode())
    await exchange.answer(200, [*headers, status], whole)


def _read(body: bytes, expression: str, client: Headers, parts: Parts) -> list[_Item] | None:
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
        profile = parts.settings.profile_for(names)
        watch = parts.watch(names, profile)
        if profile is None:
            stripped = without_options(search_body)
            items.append(_Item(header, stripped or search_body, stripped is not None, None, watch))
            continue
        asked = read_search(search_body, Params(b""), profile)
        planned, watch.side = admit(asked, profile, client)
        watch.read(asked)
        items.append(_Item(header, asked.body, asked.options is not None, planned, watch))
    return items


def _answers(body: bytes) -> tuple[Members, list[Raw]] | None:
    try:
        members = members_decoder.decode(body)
        return members, _answers_decoder.decode(members["responses"])
    except (msgspec.MsgspecError, KeyError, UnicodeError):
        return None


def _tell_skipped(items: Sequence[_Item], answers: Sequence[Raw] | None = None) -> None:
    """Record the searches of a batch that were left alone, with what was found where the answers were read."""
    for place, item in enumerate(items):
        if isinstance(item.search, Skip):
            answer = read_answer(answers[place]) if answers else None
            item.watch.told(skipped(item.search.reason, len(answer.hits) if answer else None))


def _item_status(answer: Raw) -> int:
    """The HTTP status of one answer of a batch."""
    status = msgspec.json.decode(members_decoder.decode(answer).get("status", Raw(b"200")))
    return status if isinstance(status, int) else 200


def _status(items: Sequence[_Item], done: dict[int, Done], began: float) -> str:
    """One ``csrm-status`` for the batch: how many were reranked, and the reasons of those that were not."""
    statuses = [result.status for result in done.values()]
    reranked = sum(status.kind == "reranked" for status in statuses)
    reasons = [item.search.reason for item in items if isinstance(item.search, Skip)]
    reasons += [status.reason for status in statuses if status.kind == "skipped"]
    why = ",".join(dict.fromkeys(reasons))
    if not reranked:
        shadow = any(status.kind == "shadow" for status in statuses)
        return "shadow" if shadow else skipped(why or "no-profile").header(0)
    took = round((time.monotonic() - began) * 1000)
    return f"reranked; searches={reranked}/{len(items)}; took={took}" + (f"; skipped={why}" if why else "")
