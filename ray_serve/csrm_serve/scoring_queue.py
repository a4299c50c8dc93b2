"""One model, one batch at a time: the queue inside a scorer replica.

A model uses all the cores of its replica, so two batches at once would only slow each other down. Jobs take turns of
one batch each. A job that wants every product judged has its turn when the least is left of it (shortest remaining
processing time: ten products wait for the batch that runs, and not for the thousands of others), and after all that can
be done in time where it cannot: under a load that is too much, some are answered in place of none. Jobs that take what
there is at their deadline share the model instead, since the first products of each are worth most. One whose deadline
passes or whose caller goes away is dropped after the batch that runs. Knows the model's `judging` and nothing else of
it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from csrm.errors import BundleError, DeadlineExceededError
from csrm.model import Judged
from csrm.wire import Judgment, Level
from csrm_serve.messages import Scored, ScoringJob

FIRST_QUERY = ("phone case", ("Silicone case for iPhone 15, black", "Stainless steel saucepan with lid, 2 l"))
"""What a model must judge before its replica takes requests."""

WAY_BACK_S = 0.03
WAY_BACK_SHARE = 0.05
"""A partial answer is ready so long before its deadline, or so large a part of its time, whichever is more, but no more
than a quarter of it: it still has to reach the caller."""

HOPELESS_SHARE = 0.5
"""A job that could not even do such a share of its work in time is dropped while there is other work."""


class Model(Protocol):
    """The part of `csrm.model.RelevanceModel` that serving needs."""

    name: str
    engine_name: str
    precision: str
    warning: str | None
    """Why the model runs slower than it could, if it does."""

    def judging(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        threshold: float | None = None,
        level: Level | None = None,
        deadline: float | None = None,
        partial: bool = False,
        timings: dict[str, float] | None = None,
    ) -> Generator[float, None, Judged]: ...


@dataclass(slots=True, eq=False)
class _Turns:
    """A job on its way: what it takes turns with, and what it has taken."""

    job: ScoringJob
    model: Model
    deadline: float
    """``time.monotonic()`` seconds."""
    left_s: float
    """Seconds that it still needs at the least."""
    answer: Future[Scored] = field(default_factory=Future)
    steps: Generator[float, None, Judged] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    computed_s: float = 0.0

    def spare_s(self, share: float = 1.0) -> float:
        """What would be left of its time after such a share of its work; a partial answer is always in time."""
        if self.job.partial:
            return math.inf
        return self.deadline - time.monotonic() - share * self.left_s


class ScoringQueue:
    """Runs jobs on a model, a batch of each in turn, off the event loop.

    Args:
        model: a loaded model; it judges one query here, so that a queue that exists is a queue that works.
        level: of jobs that name none; the model's own where null.
        observe: called in the model's thread with a stage's name and its milliseconds.

    Attributes:
        done: batches that were begun so far.

    Raises:
        BundleError: the model gives no usable judgment of the first query.
    """

    def __init__(
        self,
        model: Model,
        *,
        level: Level | None = None,
        observe: Callable[[str, float], None] = lambda stage, ms: None,
    ) -> None:
        self._level = level
        self._observe = observe
        self._arrived: SimpleQueue[_Turns] = SimpleQueue()
        self._running: list[_Turns] = []
        self._batch_s = 0.0
        self._product_s = 0.0
        self._busy_since: float | None = None
        self.done = 0
        threading.Thread(target=self._work, name="scorer", daemon=True).start()
        self._prove(model)
        self._model = model

    def describe(self) -> dict[str, Any]:
        """What runs here: model, engine, precision and, where there is one, the model's warning."""
        model = self._model
        described = {"model": model.name, "engine": model.engine_name, "precision": model.precision}
        return described | ({"warning": model.warning} if model.warning else {})

    def replace(self, model: Model) -> None:
        """Judge with another model from now on; jobs that have begun end with the one they began with.

        Blocks until the model has judged a query, in turn with the jobs.

        Raises:
            BundleError: it gives no usable judgment; the old one stays.
        """
        self._prove(model)
        self._model = model

    def busy_s(self) -> float:
        """Seconds that the running batch has taken so far; 0 when none runs."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def idle(self) -> bool:
        """Whether there is nothing to do just now."""
        return not self._running and self._arrived.empty() and self._busy_since is None

    async def run(self, job: ScoringJob) -> Scored:
        """Judge a job's products. Cancelling the call drops the job, after the batch that runs.

        Raises:
            DeadlineExceededError: the deadline passed while the job waited, or between two batches.
            InputError: the model refuses the data.
        """
        return await asyncio.wrap_future(self._put(job, self._model))

    def _put(self, job: ScoringJob, model: Model) -> Future[Scored]:
        left_s = job.deadline - time.time()
        way_back_s = (
            min(max(WAY_BACK_S, WAY_BACK_SHARE * left_s), left_s / 4) if job.partial and left_s > 0 else 0.0
        )
        turns = _Turns(
            job, model, time.monotonic() + left_s - way_back_s, self._product_s * len(job.products)
        )
        self._arrived.put(turns)
        return turns.answer

    def _work(self) -> None:
        while True:
            self._take_in()
            turns = self._next()
            if turns.answer.cancelled():
                self._end(turns)
                continue
            self._busy_since = began = time.monotonic()
            first = turns.steps is None
            try:
                scored = self._step(turns)
            except Exception as error:
                self._end(turns, error)
            else:
                turns.computed_s += (spent := time.monotonic() - began)
                self._batch_s += (spent - self._batch_s) / 2
                if scored is not None:
                    answer = self._answer(turns, scored)
                    self._end(turns, answer)
                    for stage, ms in answer.timings_ms.items():  # nobody waits for it
                        self._observe(stage, ms)
                else:
                    if first:
                        product_s = (spent + turns.left_s) / len(turns.job.products)
                        self._product_s += (product_s - self._product_s) / (2 if self._product_s else 1)
                    self._running.append(turns)  # behind the others
            finally:
                self._busy_since = None

    def _take_in(self) -> None:
        """What arrived joins what runs; waits where there is nothing to do."""
        with suppress(Empty):
            while True:
                self._running.append(self._arrived.get(block=not self._running))

    def _next(self) -> _Turns:
        """The job that was computed for least, where it takes what there is, or that least is left of, where it wants
        everything; of equals the one that waits longest. But first one that has to hand in before the others would be
        through, and last one that would be late: of these sooner one that was begun than one more in vain."""
        for turns in self._running:
            if turns.steps is None:  # by the pace of today, not of when it came
                turns.left_s = self._product_s * len(turns.job.products)
        soon = time.monotonic() + 2 * self._batch_s * len(self._running)
        urgent = [turns for turns in self._running if turns.job.partial and turns.deadline < soon]
        chosen = (
            min(urgent, key=lambda turns: turns.deadline)
            if urgent
            else min(
                self._running,
                key=lambda turns: (
                    late := turns.spare_s() < 0,
                    late and turns.steps is None,
                    turns.computed_s if turns.job.partial else turns.left_s,
                ),
            )
        )
        self._running.remove(chosen)
        if chosen.spare_s() >= 0:
            self._drop_hopeless()
        return chosen

    def _drop_hopeless(self) -> None:
        """Who would be late even at twice the pace hears so now, and leaves its place to others."""
        hopeless = [turns for turns in self._running if turns.spare_s(HOPELESS_SHARE) < 0]
        for turns in hopeless:
            self._running.remove(turns)
            self._end(turns, _late(turns.job))

    def _step(self, turns: _Turns) -> Judged | None:
        """One batch of a job; its judgments where that was the last."""
        self.done += 1
        job = turns.job
        if turns.steps is None:
            if time.monotonic() >= turns.deadline:
                raise _late(job)
            turns.steps = turns.model.judging(
                job.query,
                job.products,
                locale=job.locale,
                knowledge=job.knowledge,
                threshold=job.threshold,
                level=job.level or self._level,
                deadline=turns.deadline,
                partial=job.partial,
                timings=turns.timings,
            )
        try:
            turns.left_s = next(turns.steps)
        except StopIteration as end:
            judged: Judged = end.value
            return judged
        return None

    def _answer(self, turns: _Turns, judged: Judged) -> Scored:
        waited_s = max(0.0, time.time() - turns.job.sent_at - turns.computed_s)
        return Scored(
            turns.model.name,
            judged.threshold,
            [_plain(judgment) for judgment in judged.results],
            {"queue": waited_s * 1000, **turns.timings},
            judged.level,
            judged.all_layers,
        )

    @staticmethod
    def _end(turns: _Turns, result: Scored | Exception | None = None) -> None:
        """Hand in a result, unless the caller went away."""
        if turns.steps is not None:
            turns.steps.close()
        with suppress(InvalidStateError):
            if isinstance(result, Exception):
                turns.answer.set_exception(result)
            elif result is not None:
                turns.answer.set_result(result)

    def _prove(self, model: Model) -> None:
        query, products = FIRST_QUERY
        now = time.time()
        job = ScoringJob(query, products, "en", (), None, deadline=now + 3600, sent_at=now, level="full")
        scored = self._put(job, model).result()
        if len(scored.results) != len(products) or not all(
            math.isfinite(judgment["score"]) and math.isfinite(judgment["irrelevance"])
            for judgment in scored.results
        ):
            raise BundleError(
                f"The model {model.name} gives no numbers for {query!r}: its weights are broken."
            )


def _late(job: ScoringJob) -> DeadlineExceededError:
    waited_ms = (time.time() - job.sent_at) * 1000
    return DeadlineExceededError(
        f"Too late after {waited_ms:.0f} ms in the queue: raise the deadline, or add replicas."
    )


def _plain(judgment: Judgment) -> dict[str, Any]:
    """The JSON object of a judgment; faster than `model_dump` and what the ingress sends on."""
    grades = judgment.grades
    return {
        "index": judgment.index,
        "grades": {"E": grades.E, "S": grades.S, "C": grades.C, "I": grades.I},
        "score": judgment.score,
        "irrelevance": judgment.irrelevance,
        "decision": judgment.decision,
    }
