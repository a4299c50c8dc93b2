"""How the ingress reaches the scorer and the retriever: deployment handles in the shape the service expects.

Knows Ray Serve's handles and what they raise; turns that into the errors of this package. A call that is late
is cancelled, so that it leaves the queue it waits in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from grpc import StatusCode  # type: ignore[import-untyped]
from grpc.aio import AioRpcError  # type: ignore[import-untyped]
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from csrm.errors import CsrmError, DeadlineExceededError
from csrm_serve.errors import NotReadyError, OverloadedError
from csrm_serve.messages import Knowledge, PartState, Scored, ScoringJob

STATE_TIMEOUT_S = 2.0

T = TypeVar("T")


class ScorerHandle:
    """The scorer deployment, all its replicas."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def judge(self, job: ScoringJob) -> Scored:
        """Raises: OverloadedError, NotReadyError, DeadlineExceededError, InputError."""
        try:
            scored: Scored = await _within(job.deadline - time.time(), self._handle.judge.remote(job))
        except TimeoutError:
            raise DeadlineExceededError(
                "The deadline passed before every product was judged: raise it, or send fewer products."
            ) from None
        except BackPressureError:
            raise OverloadedError("Too many requests wait for a scorer: come again in a second.") from None
        except (RayError, AioRpcError, DeploymentUnavailableError) as error:
            raise _cause(error) from error
        return scored

    async def state(self) -> PartState:
        return await _state(self._handle)


class RetrieverHandle:
    """The retriever deployment."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def retrieve(self, query: str, locale: str | None, *, timeout_s: float) -> Knowledge:
        """Raises: TimeoutError, or whatever the retriever raised."""
        knowledge: Knowledge = await _within(timeout_s, self._handle.retrieve.remote(query, locale))
        return knowledge

    async def state(self) -> PartState:
        return await _state(self._handle)


async def _within(timeout_s: float, response: Awaitable[T]) -> T:
    """The value of a call. Raises TimeoutError after ``timeout_s`` seconds. Then, and where nobody waits any more, the
    call is taken back."""
    try:
        async with asyncio.timeout(timeout_s):
            return await response
    except (TimeoutError, asyncio.CancelledError):
        cast(DeploymentResponse[T], response).cancel()  # type: ignore[no-untyped-call]
        raise


def _cause(error: Exception) -> CsrmError:
    """The error that a replica raised on purpose, or that there is no replica that could."""
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, CsrmError):
            return error.cause
        raise error
    if isinstance(error, AioRpcError) and not _went_away(error):
        raise error  # what nobody foresaw
    return NotReadyError("The scorer is down and is being started again: come again in some seconds.")


def _went_away(error: AioRpcError) -> bool:
    """Whether a call ended because its replica did."""
    return error.code() in (StatusCode.CANCELLED, StatusCode.UNAVAILABLE)


async def _state(handle: DeploymentHandle[Any]) -> PartState:
    """Ask a replica; if none answers in time, say what Serve knows of the deployment."""
    try:
        state: PartState = await _within(STATE_TIMEOUT_S, handle.state.remote())
    except (TimeoutError, RayError, AioRpcError, BackPressureError, DeploymentUnavailableError) as error:
        if isinstance(error, AioRpcError) and not _went_away(error):
            code = error.code().name.lower()
            return PartState(False, f"{handle.deployment_id.name} cannot be asked: {code}.")
        return await asyncio.to_thread(
            _seen_by_serve, handle.deployment_id.name, handle.deployment_id.app_name
        )
    return state


def _seen_by_serve(deployment: str, application: str) -> PartState:
    overview = serve.status().applications[application].deployments.get(deployment)
    if overview is None:
        return PartState(False, f"{deployment} is not deployed.")
    if overview.status == "HEALTHY":  # it is there and too busy to say so
        return PartState(True, details={"busy": True})
    return PartState(
        False, f"{deployment} is {overview.status.lower()}: {overview.message or 'no replica is up yet'}"
    )
