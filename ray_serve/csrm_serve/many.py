"""Several queries in one request: what is read and written, and how many are at work at once.

Like OpenSearch's ``_msearch``: every query has a status of its own, and one that fails costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError

from csrm.wire import ErrorResponse, RelevanceRequest, RelevanceResponse
from csrm_serve.status import refusal
from csrm_serve.validation import explain

MAX_REQUESTS = 64
AT_ONCE = 4
"""Queries of one request that are at work together: enough to keep a scorer busy, too few to fill its queue."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class RelevanceBatch(BaseModel):
    """Several queries, each with its products (``POST /v1/relevance``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Annotated[
        list[SkipValidation[RelevanceRequest]], Field(min_length=1, max_length=MAX_REQUESTS)
    ]  # each is read on its own, so that a wrong one fails alone


class BatchAnswer(RelevanceResponse):
    """The answer to one query of several."""

    status: Literal[200]


class BatchFailure(ErrorResponse):
    """Why one query of several has no answer."""

    status: int


class RelevanceBatchResponse(BaseModel):
    """Answers in the order of the requests."""

    responses: list[BatchAnswer | BatchFailure]


async def answer_each(
    batch: RelevanceBatch, judge: Callable[[RelevanceRequest], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """The JSON object of `RelevanceBatchResponse`.

    Args:
        judge: the JSON object of one answer; what it raises becomes the status of that query.
    """

    async def one(numbered: tuple[int, Any]) -> dict[str, Any]:
        number, request = numbered
        try:
            return {"status": 200, **await judge(_read(request, number))}
        except Exception as error:
            told = refusal(error)
            return {"status": int(told.status), **told.as_json()}

    return {"responses": await in_turn(one, enumerate(batch.requests))}


async def in_turn(work: Callable[[Item], Awaitable[Result]], items: Iterable[Item]) -> list[Result]:
    """The results of ``work`` in the order of ``items``, `AT_ONCE` at a time; the first failure ends the rest."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> Result:
        async with places:
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _read(request: Any, number: int) -> RelevanceRequest:
    try:
        return RelevanceRequest.model_validate(request)
    except ValidationError as error:
        place = ("body", "requests", number)
        problems = [{**problem, "loc": (*place, *problem["loc"])} for problem in error.errors()]
        raise explain(problems) from None
