"""The way of one search: the window, its judgments, the page. Shared by ``_search`` and ``_msearch``.

Fails open: whatever goes wrong with the judgments, the answer is OpenSearch's own page, cut from the window
that is already in hand. Only where that window cannot be used is the client's own search sent after all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Raw

from csrm.wire import Judgment, Level, RelevanceResponse
from csrm_opensearch.errors import RelevanceError, RelevanceMissedError
from csrm_opensearch.product_text import number_of, product_text, values_of
from csrm_opensearch.profiles import Blend, LocaleFromField
from csrm_opensearch.recent import Key, RecentJudgments
from csrm_opensearch.search_answer import Hit, SearchAnswer, exactly, fewer, highest_score, read_answer
from csrm_opensearch.search_request import Search
from csrm_opensearch.status import Status, skipped
from csrm_opensearch.window import Order, Outcome, Page, by_relevance, decide, lexical, place

log = logging.getLogger(__name__)

Ask = Callable[[bytes], Awaitable[bytes | None]]
"""Sends another body of the same search; its answer, or null where OpenSearch did not give one."""


class Judge(Protocol):
    """Where judgments come from: the relevance client, or anything that judges like it."""

    async def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None,
        threshold: float | None,
        deadline: float,
        model: str | None = None,
        level: Level | None = None,
        explain: bool = False,
    ) -> RelevanceResponse:
        """A judgment for each product that there was time for; raises RelevanceError where that is none."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the client gets: ``body``, or its own search sent as it is where that is null."""

    body: bytes | None
    status: Status


@dataclass(frozen=True)
class _Judged:
    """The window's products with their judgments, in lexical order."""

    hits: Sequence[Hit]
    texts: Sequence[str]
    judgments: Sequence[Judgment | None]
    locale: str | None
    answer: RelevanceResponse | None
    """The service's answer, where it was asked (not all judgments were remembered)."""
    waited: float
    """Seconds that the service took to answer."""

    @property
    def scored(self) -> int | None:
        """How many products were judged, where that is not all of those with text."""
        scored = sum(judgment is not None for judgment in self.judgments)
        return scored if scored < sum(bool(text) for text in self.texts) else None

    def followed_by(self, further: _Judged) -> _Judged:
        """The products of two windows."""
        return _Judged(
            [*self.hits, *further.hits],
            [*self.texts, *further.texts],
            [*self.judgments, *further.judgments],
            self.locale,
            self.answer or further.answer,
            self.waited + further.waited,
        )


@dataclass
class _Hand:
    """OpenSearch's list as far as it is known: its first hits; ``complete`` where there are no more."""

    hits: list[Hit]
    complete: bool


class Reranker:
    """Turns the window's answer into the page, with the judgments of a relevance service."""

    def __init__(self, judge: Judge, recent: RecentJudgments) -> None:
        self._service = judge
        self._recent = recent

    async def page(
        self, search: Search, indices: Sequence[str], began: float, window: bytes | Raw, ask: Ask
    ) -> Done:
        """The page of a search.

        Args:
            search: as it was read.
            indices: names of the index expression, for the locale.
            began: ``time.monotonic()`` when the search arrived; the time budget counts from there.
            window: OpenSearch's answer to ``search.window_body()``.
            ask: sends further bodies, for pages that reach beyond the window.
        """
        answer = read_answer(window)
        if answer is None:
            return Done(None, skipped("window-rejected"))
        if answer.shards_failed:
            return Done(None, skipped("shards-failed"))
        if not answer.hits:
            return self._own(search, answer, "no-hits")
        hand = _Hand(list(answer.hits), complete=len(answer.hits) < search.first_size)
        try:
            judged = await self._judge(search, hand, indices, began, ask)
        except RelevanceError as error:
            log.info("search left as it is: %s", error)
            return self._own(search, answer, error.reason)
        if not any(judged.judgments):
            return self._own(search, answer, "no-product-text")
        outcome = _decide(search, judged)
        page = place(outcome, search.start, search.size)
        if search.deep:
            written = await self._deep_page(search, outcome, judged, page, ask)
        else:
            written = await self._page(search, answer, hand, outcome, judged, page, ask)
        if written is None:
            return Done(None, skipped("page-rejected"))
        body, shown = written
        waited = judged.waited * 1000 if judged.answer else None
        removed = len(outcome.removed)
        return Done(body, Status("reranked", "", outcome.window, removed, waited, shown, judged.scored))

    def untouched(self, search: Search, window: bytes | Raw) -> Done:
        """OpenSearch's own page of a search that is judged in the shadow."""
        answer = read_answer(window)
        if answer is None or answer.shards_failed:
            return Done(None, Status("shadow"))
        own = self._own(search, answer, "")
        return Done(own.body, Status("shadow"))

    def _own(self, search: Search, answer: SearchAnswer, reason: str) -> Done:
        if search.deep or not search.exact:
            return Done(None, skipped(reason))
        shown = len(answer.hits[search.start : search.start + search.size])
        notes = {"reason": reason, "model": search.model} if search.options.explain and reason else None
        return Done(answer.own_page(search.start, search.size, search.added, notes), skipped(reason, shown))

    async def _judge(
        self, search: Search, hand: _Hand, indices: Sequence[str], began: float, ask: Ask
    ) -> _Judged:
        """Judge the window, and further ones while too few products stay and the profile allows it.

        How far the first page went is remembered for the next ones, which show the same list even where a
        further window had no judgments in time.
        """
        hits = hand.hits[: search.window]
        locale = search.options.locale or _locale(search, hits, indices)
        key: Key = (search.query, locale, search.threshold, search.model, search.level)
        deadline = began + search.profile.time_budget_ms / 1000
        judged = await self._judge_hits(search, hits, key, deadline)
        limit = search.limit
        if search.start > 0:
            limit = min(limit, self._recent.judged(key) or limit)
        try:
            while len(judged.hits) < limit and len(_decide(search, judged).kept) < search.profile.enough:
                start = len(judged.hits)
                size = min(search.window, limit - start)
                if (missing := start + size - len(hand.hits)) > 0 and not hand.complete:
                    more = await _further(search, len(hand.hits), missing, ask)
                    hand.hits += more
                    hand.complete = len(more) < missing
                if not (further := hand.hits[start : start + size]):
                    break
                judged = judged.followed_by(await self._judge_hits(search, further, key, deadline))
        except RelevanceError as error:
            log.info("no further window: %s", error)
        if search.start == 0 and search.limit > search.window:
            self._recent.put_judged(key, len(judged.hits))
        return judged

    async def _judge_hits(self, search: Search, hits: Sequence[Hit], key: Key, deadline: float) -> _Judged:
        texts = [product_text(hit.fields, search.profile.text_fields) for hit in hits]
        distinct = dict.fromkeys(filter(None, texts))
        known = self._recent.get(key, distinct)
        unscored = self._recent.unscored(key, distinct)  # a first page tries again; the others are as it was
        missing = [
            text
            for text in distinct
            if (search.options.explain or text not in known) and (search.start == 0 or text not in unscored)
        ]
        answer, asked = None, time.monotonic()
        if missing:
            if search.start > 0 and self._recent.failed(key):
                raise RelevanceMissedError("The page before this one was OpenSearch's own.")
            try:
                answer = await self._ask(search, key, missing, deadline)
            except RelevanceError:
                if not unscored.issuperset(missing):
                    self._recent.put_failed(key)
                    raise
            else:
                known |= {missing[judgment.index]: judgment for judgment in answer.results}
        judgments = [known.get(text) for text in texts]
        return _Judged(hits, texts, judgments, key[1], answer, time.monotonic() - asked)

    async def _ask(self, search: Search, key: Key, products: list[str], deadline: float) -> RelevanceResponse:
        query, locale, threshold, model, level = key
        answer = await self._service.judge(
            query,
            products,
            locale=locale,
            threshold=threshold,
            deadline=deadline,
            model=model,
            level=level,
            explain=search.options.explain,
        )
        scored = {products[judgment.index]: judgment for judgment in answer.results}
        self._recent.put(key, scored, unscored=[text for text in products if text not in scored])
        return answer

    async def _page(
        self,
        search: Search,
        answer: SearchAnswer,
        hand: _Hand,
        outcome: Outcome,
        judged: _Judged,
        page: Page,
        ask: Ask,
    ) -> tuple[bytes, int] | None:
        """A page that begins inside a window; what is in hand holds all of it or all but its end."""
        hits = self._kept(search, judged, page)
        if search.profile.tail == "show":
            tail = hand.hits[page.start : page.start + page.size]
            if len(tail) < page.size and not hand.complete:
                tail += await _further(search, page.start + len(tail), page.size - len(tail), ask)
            hits += [hit.written(search.added) for hit in tail]
        around = _around(search, answer, outcome, judged, known=len(hand.hits) - len(outcome.removed))
        notes = _notes(search, judged, outcome)
        return answer.page(hits, search.added, notes, **around), len(hits)

    async def _deep_page(
        self, search: Search, outcome: Outcome, judged: _Judged, page: Page, ask: Ask
    ) -> tuple[bytes, int] | None:
        """A page beyond every window: the client's search, moved on by as many places as products were removed.

        At the end of what an index lets be paged through (``index.max_result_window``) the move may be
        refused: then the page ends at the last rank that the client's own search would have reached.
        """
        end = search.start + search.size
        start, size = (page.start, page.size) if search.profile.tail == "show" else (end, 0)
        body = await ask(search.page_body(start, size))
        if body is None and size:
            size = max(0, end - page.start)
            body = await ask(search.page_body(end - size, size))  # refused where the client's own would be
        answer = read_answer(body) if body is not None else None
        if answer is None:
            return None
        around = _around(search, answer, outcome, judged, known=search.start + len(answer.hits))
        hits = [hit.raw for hit in answer.hits]
        return answer.page(hits, (), _notes(search, judged, outcome), **around), len(hits)

    @staticmethod
    def _kept(search: Search, judged: _Judged, page: Page) -> list[Raw]:
        if not search.options.explain:
            return [judged.hits[rank].written(search.added) for rank in page.kept]
        return [judged.hits[rank].written(search.added, _explained(judged, rank)) for rank in page.kept]


async def _further(search: Search, start: int, size: int, ask: Ask) -> list[Hit]:
    """Further hits of OpenSearch's list; none where it gives none, as at the end of what may be paged through."""
    body = await ask(search.more_body(start, size))
    answer = read_answer(body) if body is not None else None
    return answer.hits if answer else []


def _decide(search: Search, judged: _Judged) -> Outcome:
    return decide(
        judged.judgments,
        min_keep=search.profile.min_keep,
        order=_order(search.profile.blend, judged) if search.by_relevance else None,
    )


def _order(blend: Blend | None, judged: _Judged) -> Order:
    relevance = by_relevance(judged.judgments)
    if blend is None:
        return Order(((1.0, relevance),))
    orders = [(blend.relevance, relevance), (blend.lexical, lexical(len(judged.hits)))]
    if blend.field:
        name = blend.field.name
        orders.append((blend.field.weight, [number_of(hit.fields, name) for hit in judged.hits]))
    return Order(tuple((weight, figures) for weight, figures in orders if weight))


def _locale(search: Search, hits: Sequence[Hit], indices: Sequence[str]) -> str | None:
    """By the names asked for, else (aliases, wildcards) by those of the hits; or from their fields."""
    setting = search.profile.locale
    if isinstance(setting, LocaleFromField):
        values = [str(value) for hit in hits for value in values_of(hit.fields, setting.field)]
        return search.profile.locale_of((), values)
    return search.profile.locale_of(indices) or search.profile.locale_of(
        {hit.text("_index") or "" for hit in hits}
    )


def _around(
    search: Search, answer: SearchAnswer, outcome: Outcome, judged: _Judged, *, known: int
) -> Mapping[str, Raw]:
    """``total`` and ``max_score`` after the removals; ``known`` products stay for certain."""
    around: dict[str, Raw] = {}
    kept, removed = len(outcome.kept), len(outcome.removed)
    if total := answer.around.get("total"):
        hide = search.profile.tail == "hide"
        around["total"] = exactly(total, kept) if hide else fewer(total, removed, known)
    if (top := answer.around.get("max_score")) and search.by_relevance and bytes(top) != b"null":
        around["max_score"] = highest_score([judged.hits[rank] for rank in outcome.kept], top)
    return around


def _explained(judged: _Judged, rank: int) -> dict[str, Any]:
    judgment = judged.judgments[rank]
    notes: dict[str, Any] = {"lexical_rank": rank, "text": judged.texts[rank]}
    if judgment is not None:
        notes |= {
            "grades": judgment.grades.model_dump(),
            "score": judgment.score,
            "irrelevance": judgment.irrelevance,
            "decision": judgment.decision,
        }
        if judged.answer and judged.answer.knowledge:
            notes["knowledge"] = [entry.id for entry in judged.answer.knowledge]
    return notes


def _notes(search: Search, judged: _Judged, outcome: Outcome) -> dict[str, Any] | None:
    """The ``csrm`` object of an explained answer."""
    if not search.options.explain or judged.answer is None:
        return None
    removed = []
    for rank in outcome.removed:
        hit = judged.hits[rank]
        irrelevance = (judged.judgments[rank] or judged.answer.results[0]).irrelevance
        removed.append(
            {
                "_index": hit.text("_index"),
                "_id": hit.text("_id"),
                "_score": hit.score,
                **_explained(judged, rank),
                "reason": f"irrelevance {irrelevance:.3f} > threshold {judged.answer.threshold:.3f}",
            }
        )
    return {
        "model": judged.answer.model,
        "knowledge_version": judged.answer.knowledge_version,
        "query": search.query,
        "locale": judged.locale,
        "threshold": judged.answer.threshold,
        "level": judged.answer.level,
        "window": outcome.window,
        "scored": sum(judgment is not None for judgment in judged.judgments),
        "removed": removed,
        "knowledge": [entry.model_dump() for entry in judged.answer.knowledge or []],
        "timings_ms": judged.answer.timings_ms or {},
    }
