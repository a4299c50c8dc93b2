"""The way of one request: knowledge for the query, then a judgment of every product, before the deadline.

Knowledge is worth having and not worth waiting for: when it fails or is late, the query is scored without it
and the answer says so. Knows no HTTP and no Ray: both deployments are reached through two small protocols.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from csrm.errors import DeadlineExceededError
from csrm.wire import Level
from csrm_serve.errors import NotReadyError
from csrm_serve.messages import Knowledge, PartState, Scored, ScoringJob

log = logging.getLogger("ray.serve.csrm")

KNOWLEDGE_SHARE = 0.3
"""Most of a request's time that knowledge may take: what is left must be enough to score."""

PROOF_OF_LIFE_S = 10.0
"""So long after an answered query the scorer counts as ready without being asked: overload is no outage."""

Observe = Callable[[str, float], None]
"""Called with a stage's name and the milliseconds it took."""


class Scorer(Protocol):
    """Judges products. Raises OverloadedError, NotReadyError, DeadlineExceededError or InputError."""

    async def judge(self, job: ScoringJob) -> Scored: ...

    async def state(self) -> PartState: ...


class Retriever(Protocol):
    """Finds knowledge for a query; may raise anything."""

    async def retrieve(self, query: str, locale: str | None, *, timeout_s: float) -> Knowledge: ...

    async def state(self) -> PartState: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Judgments of the products, what knowledge they were made with, and where the time went."""

    scored: Scored
    knowledge: Knowledge
    timings_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Ready when a scorer is; a retriever that is not ready costs quality, not answers."""

    scorer: PartState
    retriever: PartState

    @property
    def ready(self) -> bool:
        return self.scorer.ready

    def as_json(self) -> dict[str, Any]:
        return {"scorer": self.scorer.as_json(), "retriever": self.retriever.as_json()}


class RelevanceService:
    """Answers requests with a scorer and a retriever.

    Args:
        default_deadline_ms: deadline of a request that names none.
        knowledge_budget_ms: most that knowledge may take.
        observe: told the duration of each stage.
    """

    def __init__(
        self,
        scorer: Scorer,
        retriever: Retriever,
        *,
        default_deadline_ms: float,
        knowledge_budget_ms: float,
        observe: Observe = lambda stage, ms: None,
    ) -> None:
        self._scorer = scorer
        self._retriever = retriever
        self._default_deadline_s = default_deadline_ms / 1000
        self._knowledge_budget_s = knowledge_budget_ms / 1000
        self._observe = observe
        self._knowledge_failing = False
        self._scorer_state: PartState | None = None
        self._answered_at = self._asked_at = -PROOF_OF_LIFE_S
        self._asking: asyncio.Task[None] | None = None

    async def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        threshold: float | None = None,
        level: Level | None = None,
        deadline_ms: float | None = None,
        partial: bool = False,
        arrived: float | None = None,
    ) -> Answer:
        """Judge every product, or, with ``partial``, those there is time for.

        Args:
            query: what the shopper typed, not blank.
            products: product texts, not blank.
            locale: language tag of the shop.
            threshold: irrelevance above which a product is removed; the bundle's own if None.
            level: how deep products are judged; the server's own if None.
            deadline_ms: milliseconds from arrival after which the answer is worthless.
            partial: at the deadline, answer with what was judged until then.
            arrived: when the request came in, in seconds since the epoch; now if None.

        Raises:
            DeadlineExceededError: the deadline passed first; with ``partial``, before anything was judged.
            OverloadedError: as many requests wait as may wait.
            NotReadyError: no scorer is up.
            InputError: the model refuses the data.
        """
        start = time.time() if arrived is None else arrived
        budget_s = self._default_deadline_s if deadline_ms is None else deadline_ms / 1000
        deadline = start + budget_s
        if time.time() >= deadline:
            raise DeadlineExceededError(
                f"The deadline of {budget_s * 1000:g} ms passed before scoring began: raise it."
            )

        asked = time.perf_counter()
        knowledge = await self._knowledge(query, locale, deadline)
        timings = {"knowledge": _ms_since(asked)}
        self._observe("knowledge", timings["knowledge"])

        scored = await self._scorer.judge(
            ScoringJob(
                query=query,
                products=products,
                locale=locale,
                knowledge=[entry["text"] for entry in knowledge.entries],
                threshold=threshold,
                deadline=deadline,
                sent_at=time.time(),
                level=level,
                partial=partial,
            )
        )
        self._heard_of(scored.model)
        timings |= scored.timings_ms
        timings["total"] = (time.time() - start) * 1000
        self._observe("total", timings["total"])
        return Answer(scored, knowledge, {stage: round(ms, 3) for stage, ms in timings.items()})

    async def model(self) -> str:
        """Name and version of the served bundle; another one may take its place, so it is asked for now and then.

        Raises:
            NotReadyError: no scorer is up, and none was.
        """
        known = self._scorer_state
        if known is None or time.monotonic() - self._asked_at > PROOF_OF_LIFE_S:
            state = await self._ask()
            if "model" in state.details:
                known = state
            elif known is None:
                raise NotReadyError(state.reason or "No scorer is up yet: ask /readyz.")
        return str(known.details["model"])

    async def readiness(self) -> Readiness:
        """Ask both deployments how they are; nobody waits for a scorer that has just answered a query."""
        if self._scorer_state is not None and time.monotonic() - self._answered_at < PROOF_OF_LIFE_S:
            self._ask_beside()
            return Readiness(self._scorer_state, await self._retriever.state())
        scorer, retriever = await asyncio.gather(self._ask(), self._retriever.state())
        return Readiness(scorer, retriever)

    def _ask_beside(self) -> None:
        """Hear now and then what a scorer that is busy says of itself, such as of a bundle that it did not take up."""
        asking = self._asking is not None and not self._asking.done()
        if not asking and time.monotonic() - self._asked_at > PROOF_OF_LIFE_S:
            self._asking = asyncio.create_task(self._ask_quietly())

    async def _ask_quietly(self) -> None:
        with suppress(Exception):  # whatever it is, queries are answered
            await self._ask()

    async def _ask(self) -> PartState:
        """What the scorer says of itself, which is remembered where it has a model."""
        state = await self._scorer.state()
        if "model" in state.details:
            self._scorer_state, self._asked_at = state, time.monotonic()
        return state

    def _heard_of(self, model: str) -> None:
        """A scorer has answered with this model; what was known of another one is void."""
        self._answered_at = time.monotonic()
        if self._scorer_state is not None and self._scorer_state.details["model"] != model:
            self._scorer_state = None

    async def _knowledge(self, query: str, locale: str | None, deadline: float) -> Knowledge:
        timeout_s = min(self._knowledge_budget_s, (deadline - time.time()) * KNOWLEDGE_SHARE)
        try:
            knowledge = await asyncio.wait_for(
                self._retriever.retrieve(query, locale, timeout_s=timeout_s), timeout=timeout_s
            )
        except Exception as error:  # whatever it is, the query is scored all the same
            self._knowledge_changed(f"{type(error).__name__}: {error}")
            return Knowledge()
        self._knowledge_changed(None)
        return knowledge

    def _knowledge_changed(self, failure: str | None) -> None:
        """Log the first failure and the first success after it, not each of thousands."""
        if failure is not None and not self._knowledge_failing:
            log.warning("Scoring without knowledge: %s", failure)
        elif failure is None and self._knowledge_failing:
            log.info("Scoring with knowledge again.")
        self._knowledge_failing = failure is not None


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
