"""The queue of a scorer replica: in turns of one batch, and no work for who does not want it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from dataclasses import replace

import pytest

from csrm.errors import BundleError, DeadlineExceededError
from csrm.model import Judged
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
    def broken(*args: object, **kwargs: object) -> Generator[float, None, Judged]:
        judged = yield from WordModel.judging(model, *args, **kwargs)  # type: ignore[arg-type]
        nothing = [one.model_copy(update={"score": float("nan")}) for one in judged.results]
        return replace(judged, results=nothing)

    monkeypatch.setattr(model, "judging", broken)
    with pytest.raises(BundleError, match="gives no numbers"):
        ScoringQueue(model)


async def test_jobs_that_want_everything_run_one_after_the_other(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    await queue.run(job("pace", products=10))
    began = time.perf_counter()
    answers = await asyncio.gather(*(queue.run(job(f"q{number}", products=2)) for number in range(4)))
    assert time.perf_counter() - began >= 4 * 2 * 0.02
    assert model.steps[-8:] == ["q0", "q0", "q1", "q1", "q2", "q2", "q3", "q3"]
    assert answers[-1].timings_ms["queue"] > 100


async def test_jobs_that_take_what_there_is_share_the_model(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    jobs = [replace(job(f"q{number}", products=2), partial=True) for number in range(4)]
    await asyncio.gather(*map(queue.run, jobs))
    assert model.steps[-8:-4] == ["q0", "q1", "q2", "q3"], "each its first product before any its second"


async def test_too_much_work_is_done_for_some_and_not_for_none(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    await queue.run(job("pace", products=10))
    began = time.perf_counter()
    calls = (queue.run(job(f"q{number}", products=10, deadline_s=0.7)) for number in range(12))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    late = [answer for answer in answers if isinstance(answer, DeadlineExceededError)]
    assert time.perf_counter() - began < 1.0
    assert 2 <= len(answers) - len(late) <= 3  # of 2.4 s of work, what fits in 0.7 s
    assert len(set(model.judged)) <= len(answers) - len(late) + 3, "pace, the first query and one in vain"


async def test_a_model_that_slows_down_is_noticed(model: WordModel) -> None:
    """The first few jobs are begun, the others are told that it would be too late for them."""
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    await queue.run(job("pace", products=10))
    model.seconds_each = 0.1
    calls = (queue.run(job(f"q{number}", products=10, deadline_s=0.9)) for number in range(12))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, DeadlineExceededError) for answer in answers)
    assert len(set(model.judged)) <= 2 + 3, "pace, the first query and three until it is noticed"


async def test_a_load_that_stays_too_much_keeps_the_model_at_work_that_is_in_time(model: WordModel) -> None:
    """Three times what can be done, for two seconds, each with time for two and a half."""
    queue = ScoringQueue(model)
    model.seconds_each = 0.01
    await queue.run(job("pace", products=20))

    async def call(number: int) -> bool:
        await asyncio.sleep(number * 0.2 / 3)
        try:
            await queue.run(job(f"q{number}", products=20, deadline_s=0.5))
        except DeadlineExceededError:
            return False
        return True

    done = sum(await asyncio.gather(*map(call, range(30))))
    assert done >= 7, done  # ten at most; taking turns finishes next to none


async def test_who_cannot_be_done_in_time_lets_others_before_it(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    hopeless = asyncio.create_task(queue.run(job("hopeless", products=60, deadline_s=0.5)))
    await asyncio.sleep(0.1)
    answer = await queue.run(job("patient", products=70, deadline_s=10))
    assert len(answer.results) == 70
    with pytest.raises(DeadlineExceededError):
        await hopeless
    assert model.steps.count("hopeless") < 15


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


async def test_a_caller_that_goes_away_ends_its_job_between_two_batches(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.02
    gone = asyncio.create_task(queue.run(job("gone", products=500)))
    await asyncio.sleep(0.1)
    gone.cancel()
    await queue.run(job("next"))
    assert 0 < model.steps.count("gone") < 20


async def test_two_hundred_callers_that_hang_up_leave_a_queue_that_works(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.01
    calls = [asyncio.create_task(queue.run(job(f"q{number}", products=50))) for number in range(200)]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    began = time.perf_counter()
    answer = await queue.run(job("next"))
    assert len(answer.results) == 1
    assert time.perf_counter() - began < 1.0


async def test_a_large_job_does_not_keep_a_small_one_waiting(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.005
    large = asyncio.create_task(queue.run(job("large", products=100)))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await queue.run(job("small", products=5))
    assert time.perf_counter() - began < 0.2 and not large.done()
    assert len((await large).results) == 100


async def test_who_has_to_hand_in_comes_before_who_has_time(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.05
    patient = [asyncio.create_task(queue.run(job(f"patient {number}", products=99))) for number in range(8)]
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    hasty = await queue.run(replace(job("hasty", products=50, deadline_s=1.0), partial=True))
    assert time.perf_counter() - began < 1.2  # a round of the others takes 0.4 s
    assert 0 < len(hasty.results) < 50
    assert [one["index"] for one in hasty.results] == list(range(len(hasty.results)))
    steps = "".join(query[0] for query in model.steps)
    assert "hh" in steps.rstrip("p"), "towards its deadline it has every turn"
    for one in patient:
        one.cancel()


async def test_a_job_says_its_level_or_gets_the_queues(model: WordModel) -> None:
    queue = ScoringQueue(model, level="fast")
    own = await queue.run(job("q", products=3))
    asked = await queue.run(replace(job("q", products=3), level="balanced"))
    assert (own.level, own.all_layers) == ("fast", 0)
    assert (asked.level, asked.all_layers) == ("balanced", 1)


async def at_rest(queue: ScoringQueue) -> None:
    """A job is answered a moment before the batch that ended it counts as over."""
    until = time.monotonic() + 10
    while queue.busy_s() != 0.0:
        assert time.monotonic() < until
        await asyncio.sleep(0.001)


async def test_the_queue_knows_how_long_the_running_job_takes(model: WordModel) -> None:
    queue = ScoringQueue(model)
    assert queue.busy_s() == 0.0
    model.seconds_each = 0.2
    running = asyncio.create_task(queue.run(job("slow")))
    await asyncio.sleep(0.1)
    assert 0.0 < queue.busy_s() < 0.2
    await running
    await at_rest(queue)


@pytest.mark.parametrize("failure", [MemoryError("no room"), ZeroDivisionError("a defect")])
async def test_a_job_that_fails_fails_alone(
    model: WordModel, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    queue = ScoringQueue(model)
    whole = WordModel.judging

    def judging(
        self: WordModel, query: str, *args: object, **kwargs: object
    ) -> Generator[float, None, Judged]:
        if query == "fails":
            raise failure
        return (yield from whole(self, query, *args, **kwargs))  # type: ignore[arg-type]

    monkeypatch.setattr(WordModel, "judging", judging)
    model.seconds_each = 0.01
    beside = asyncio.create_task(queue.run(job("beside", products=10)))
    with pytest.raises(type(failure)):
        await queue.run(job("fails"))
    assert len((await beside).results) == 10
    assert len((await queue.run(job("next"))).results) == 1
    await at_rest(queue)


async def test_stages_are_observed(model: WordModel) -> None:
    seen: dict[str, float] = {}
    queue = ScoringQueue(model, observe=seen.__setitem__)
    await queue.run(job("q"))
    await at_rest(queue)
    assert set(seen) == {"queue", "tokenise", "prefix", "products"}


async def test_a_short_job_waits_for_one_batch_however_many_long_ones_there_are(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.005
    long = [asyncio.create_task(queue.run(job(f"long{number}", products=200))) for number in range(7)]
    await asyncio.sleep(0.5)  # each had some turns
    before = len(model.steps)
    await queue.run(job("short", products=10))
    taken = model.steps[before:]
    assert taken.count("short") == 10
    assert len(taken) - 10 <= 2, "but for the batch that ran, and one that the loop was late for"
    assert not any(one.done() for one in long)
    answers = await asyncio.gather(*long)
    assert [len(answer.results) for answer in answers] == [200] * 7, "nor does it starve them"


async def test_long_jobs_that_take_what_there_is_share_the_model_to_the_end(model: WordModel) -> None:
    queue = ScoringQueue(model)
    model.seconds_each = 0.002
    jobs = [replace(job(f"long{number}", products=100), partial=True) for number in range(4)]
    await asyncio.gather(*map(queue.run, jobs))
    halfway = model.steps[2:][:200]  # after the first query
    counts = [halfway.count(f"long{number}") for number in range(4)]
    assert min(counts) > 30, counts
