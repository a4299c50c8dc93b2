"""Asks the relevance service for judgments: bounded, in time, behind a circuit breaker.

Never retried, but for one case: a kept connection turns out to be closed. Knows the wire (``csrm.wire``) and
HTTP; knows no OpenSearch. Every failure is a RelevanceError.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import aiohttp
from pydantic import BaseModel, ValidationError

from csrm.wire import ErrorResponse, Judgment, Level, RelevanceRequest, RelevanceResponse, is_called
from csrm_opensearch import request_id
from csrm_opensearch.breaker import CircuitBreaker, State
from csrm_opensearch.errors import (
    RelevanceBusyError,
    RelevanceDownError,
    RelevanceError,
    RelevanceGarbageError,
    RelevanceLateError,
    RelevanceModelError,
    RelevanceOpenError,
    RelevanceRefusedError,
    RelevanceUnknownKeyError,
)
from csrm_opensearch.profiles import RelevanceSettings
from csrm_opensearch.relevance_key import read_key
from csrm_opensearch.sessions import Sessions

log = logging.getLogger(__name__)

MIN_BUDGET = 0.01
"""Seconds under which asking is pointless."""

WARN_SECONDS = 1.0

PROBE_SECONDS = 1.0
"""How long the service may take to say whether it is ready."""

_REFUSES_KEY = frozenset({401, 403})

_ABOUT_THE_MODEL = frozenset({"unknown_model", "not_ready"})
"""Types of errors that say nothing of the service where a request names a model: others may well be up."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the service is. ``reason`` says what to do where its state alone does not."""

    state: Literal["ready", "not-ready", "unreachable", "unknown-key", "unknown-model"]
    reason: str | None = None


class RelevanceClient:
    """A pool of connections to one relevance service. Use as an async context manager.

    Raises:
        ProfileError: the key cannot be read.
    """

    def __init__(self, settings: RelevanceSettings) -> None:
        self._url = settings.url.rstrip("/")
        key = read_key(settings)
        self._key_headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._breaker = CircuitBreaker(settings.breaker.failures, settings.breaker.cooldown_ms / 1000)
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._max_in_flight = settings.max_in_flight
        self._sessions: Sessions | None = None
        self._warned: dict[str, float] = {}

    async def __aenter__(self) -> RelevanceClient:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self._sessions = Sessions(limit=self._max_in_flight + 1, traces=[trace])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sessions:
            await self._sessions.close()

    @property
    def breaker_state(self) -> State:
        return self._breaker.state

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
        """Judgments in the order of the products: one for each, or for those that there was time for.

        Args:
            query: what the shopper typed, not blank.
            products: 1 to 1,000 texts, not blank, in lexical order.
            deadline: ``time.monotonic()`` seconds after which the answer is worthless; the service is told.
            model: which of the service's models judges, by its name; its first where null.
            level: how deep products are judged; the service's own where null.

        Raises:
            RelevanceError: no sound answer in time; see the tree in ``errors``.
        """
        if deadline - time.monotonic() < MIN_BUDGET:
            raise RelevanceLateError("The time budget was used up before the relevance service was asked.")
        if not self._breaker.allow():
            raise RelevanceOpenError(
                f"The relevance service at {self._url} failed too often: waiting for it."
            )
        try:
            answer = await self._within(query, products, locale, threshold, deadline, model, level, explain)
        except (RelevanceDownError, RelevanceGarbageError, RelevanceLateError) as error:
            self._breaker.failure()
            self._warn(error)
            raise
        except (RelevanceRefusedError, RelevanceBusyError) as error:  # says nothing of the service's health
            self._breaker.abandoned()
            self._warn(error)
            raise
        except BaseException:  # the client went away
            self._breaker.abandoned()
            raise
        self._breaker.success()
        return answer

    def _warn(self, error: RelevanceError) -> None:
        """Say in the log why there are no judgments; of each kind at most once a second."""
        if time.monotonic() - self._warned.get(error.reason, 0.0) >= WARN_SECONDS:
            self._warned[error.reason] = time.monotonic()
            log.warning("no judgments: %s", error)

    async def _within(
        self,
        query: str,
        products: Sequence[str],
        locale: str | None,
        threshold: float | None,
        deadline: float,
        model: str | None,
        level: Level | None,
        explain: bool,
    ) -> RelevanceResponse:
        waiting = True
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._slots:
                waiting = False
                request = RelevanceRequest(
                    query=query,
                    products=list(products),
                    model=model,
                    locale=locale,
                    threshold=threshold,
                    deadline_ms=max(1.0, (deadline - time.monotonic()) * 1000),
                    level=level,
                    partial=True,
                    explain=explain,
                )
                answer = await self._post(request)
        except TimeoutError:
            if waiting:
                raise RelevanceBusyError(
                    "Too many searches wait for judgments: raise relevance.max_in_flight."
                ) from None
            raise RelevanceLateError("The relevance service did not answer within the time budget.") from None
        _check(answer, len(products))
        return answer

    async def _post(self, request: RelevanceRequest) -> RelevanceResponse:
        try:
            async with await self._sent(request.model_dump_json(exclude_none=True).encode()) as response:
                body, status = await response.read(), response.status
        except (aiohttp.ClientError, OSError) as error:
            raise RelevanceDownError(
                f"The relevance service at {self._url} cannot be reached: {error}"
            ) from error
        kind, told = ("", "") if status == 200 else _error(body)
        match status:
            case 200:
                pass
            case 404 | 503 if request.model is not None and kind in _ABOUT_THE_MODEL:
                raise RelevanceModelError(
                    f"The relevance service at {self._url} cannot judge by model {request.model}: {told}"
                )
            case 504:
                raise RelevanceLateError("The relevance service gave up at the deadline.")
            case 429 | 500 | 502 | 503:
                raise RelevanceDownError(f"The relevance service answered {status}: {body[:200]!r}")
            case 401 | 403:
                raise RelevanceUnknownKeyError(self._key_told())
            case _:
                raise RelevanceRefusedError(f"The relevance service answered {status}: {body[:200]!r}")
        try:
            return RelevanceResponse.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            raise RelevanceGarbageError(
                f"The relevance service's answer is not one: {error.errors()[0]['msg']}"
            ) from error

    async def _sent(self, body: bytes) -> aiohttp.ClientResponse:
        """The service's answer as soon as it begins; asked again only where a kept connection was closed.

        A service that hangs up on a new connection has failed: the same request is not sent to it twice.
        """
        assert self._sessions is not None, "use 'async with'"
        url = f"{self._url}/v1/relevance"
        headers = {"Content-Type": "application/json", **self._key_headers}
        if called := request_id.current():
            headers |= {request_id.HEADER: called, "X-Request-Id": called}  # Ray Serve logs the latter
        unlimited, used = aiohttp.ClientTimeout(total=None), SimpleNamespace(kept=False)
        try:
            return await self._sessions.kept.post(
                url, data=body, headers=headers, timeout=unlimited, trace_request_ctx=used
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not used.kept:
                raise
        return await self._sessions.fresh.post(url, data=body, headers=headers, timeout=unlimited)

    async def ready(self, models: Sequence[str] = ()) -> Readiness:
        """What the service's own ``/readyz`` says, whether it takes our key, and whether it has these models."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                status, listed = await self._get("/v1/models")
                if status in _REFUSES_KEY:  # probes are asked for no key
                    return Readiness("unknown-key", self._key_told())
                if (await self._get("/readyz"))[0] != 200:
                    return Readiness("not-ready")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Readiness("unreachable")
        names = _names(listed)
        missing = [model for model in models if not any(is_called(name, model) for name in names)]
        if not missing:
            return Readiness("ready")
        return Readiness(
            "unknown-model",
            f"The relevance service at {self._url} has no model {', '.join(missing)}, which profiles name:"
            f" it has {', '.join(names) or 'none'}.",
        )

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Status and body, over a connection of its own: one that is kept is for searches."""
        assert self._sessions is not None, "use 'async with'"
        async with self._sessions.fresh.get(f"{self._url}{path}", headers=self._key_headers) as response:
            return response.status, await response.read()

    def _key_told(self) -> str:
        """What to do where the service does not take our key, or our having none."""
        if self._key_headers:
            return f"The relevance service at {self._url} does not know the gateway's key: renew it."
        return (
            f"The relevance service at {self._url} asks for a key:"
            " set relevance.key_file or relevance.key_env."
        )


async def _note_reuse(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.kept = True


class _Listed(BaseModel):
    id: str


class _Models(BaseModel):
    """What ``/v1/models`` answers, as far as we read it."""

    data: list[_Listed]


def _names(listed: bytes) -> list[str]:
    """The models that the service has; none where it does not say."""
    try:
        return [one.id for one in _Models.model_validate_json(listed).data]
    except ValidationError:
        return []


def _error(body: bytes) -> tuple[str, str]:
    """Type and reason of an error, empty where it is not the service's own."""
    try:
        error = ErrorResponse.model_validate_json(body, extra="ignore").error
    except ValidationError:
        return "", ""
    return error.type, error.reason


def _check(answer: RelevanceResponse, count: int) -> None:
    """Raise RelevanceGarbageError unless there is one sound judgment for each product that was scored, in order."""
    scored = count if answer.scored is None else answer.scored
    indices = [judgment.index for judgment in answer.results]
    if len(indices) != scored or not scored or indices != sorted({*indices} & {*range(count)}):
        raise RelevanceGarbageError(
            f"The relevance service gave {len(indices)} judgments, not one for each of {scored} of {count}."
        )
    if not all(map(_sound, answer.results)):
        raise RelevanceGarbageError("The relevance service gave figures outside 0..1.")


def _sound(judgment: Judgment) -> bool:
    grades = judgment.grades
    figures = (judgment.score, judgment.irrelevance, grades.E, grades.S, grades.C, grades.I)
    return all(math.isfinite(figure) and -1e-6 <= figure <= 1 + 1e-6 for figure in figures)
