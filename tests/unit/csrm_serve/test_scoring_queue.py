"""The queue of a scorer replica: in order, one at a time, and no work for who does not want it any more."""

from __future__ import annotations

import asyncio
import time

import pytest

from csrm.errors import BundleError, DeadlineExceededError
from csrm.wire import Judgment
from csrm_serve.messages import ScoringJob
from csrm_serve.scoring_queue import FIRST_QUERY, ScoringQueue

from .conftest import WordModel


def job(query: str, products: int = 1, deadline_s: float = 10.0) -> ScoringJob:
    now = time.time()
    return ScoringJob(query, [query] * products, None, (), None, deadline=now + deadline_s, sent_at=now)


def test_a_queue_has_judged_a_query_before_it_exists(model: WordModel) -> None:
    ScoringQueue(model)
    assert model.judged == [FIRST_QUERY[0]]


def test_a_model_without_numbers_makes_no_queue(model: WordModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> list[Judgment]:
        judgments = WordModel.judge(model, *args, **kwargs)  # type: ignore[arg-type]
        return [one.model_copy(update={"score": float("nan")}) for one in judgments]

    monkeypatch.setattr(model, "judge", broken)
    with pytest.raises(BundleError, match="gives no numbers"):
        ScoringQueue(model)


async def test_jobs_run_in_order_and_one_at_a_time(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    began = time.perf_counter()
    answers = await asyncio.gather(*(queue.run(job(f"q{number}", products=2)) for number in range(4)))
    assert model.judged[1:] == ["q0", "q1", "q2", "q3"]
    assert time.perf_counter() - began >= 4 * 2 * 0.02
    waits = [answer.timings_ms["queue"] for answer in answers]
    assert waits == sorted(waits) and waits[-1] > 100


async def test_a_job_that_is_late_in_the_queue_is_dropped_without_work(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.2
    first = asyncio.create_task(queue.run(job("first")))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceededError, match="in the queue"):
        await queue.run(job("late", deadline_s=0.05))
    await first
    assert "late" not in model.judged


async def test_a_caller_that_goes_away_takes_its_job_along(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.1
    first = asyncio.create_task(queue.run(job("first")))
    gone = asyncio.create_task(queue.run(job("gone")))
    await asyncio.sleep(0.02)
    gone.cancel()
    await first
    await queue.run(job("next"))
    assert model.judged[1:] == ["first", "next"]


async def test_the_queue_knows_how_long_the_running_job_takes(model: WordModel) -> None:
    queue = ScoringQueue(model)
    assert queue.busy_s() == 0.0
    model.seconds_each = 0.2
    running = asyncio.create_task(queue.run(job("slow")))
    await asyncio.sleep(0.1)
    assert 0.0 < queue.busy_s() < 0.2
    await running
    assert queue.busy_s() == 0.0


async def test_stages_are_observed(model: WordModel) -> None:
    seen: dict[str, float] = {}
    queue = ScoringQueue(model, observe=seen.__setitem__)
    await queue.run(job("q"))
    assert set(seen) == {"queue", "tokenise", "prefix", "products"}
