"""One model, one job at a time: the queue inside a scorer replica.

A model uses all the cores of its replica, so two jobs at once would only slow each other down. Jobs wait in
order; one whose deadline passes or whose caller goes away while it waits is dropped without any work.
Knows the model's `judge` and nothing else of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from csrm.errors import BundleError, DeadlineExceededError
from csrm.wire import Judgment
from csrm_serve.messages import Scored, ScoringJob

FIRST_QUERY = ("phone case", ("Silicone case for iPhone 15, black", "Stainless steel saucepan with lid, 2 l"))
"""What a model must judge before its replica takes requests."""


class Model(Protocol):
    """The part of `csrm.model.RelevanceModel` that serving needs."""

    name: str
    engine_name: str
    precision: str
    warning: str | None
    """Why the model runs slower than it could, if it does."""

    def threshold(self, locale: str | None) -> float: ...

    def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        threshold: float | None = None,
        deadline: float | None = None,
        timings: dict[str, float] | None = None,
    ) -> list[Judgment]: ...


class ScoringQueue:
    """Runs jobs on a model, one after the other, off the event loop.

    Args:
        model: a loaded model; it judges one query here, so that a queue that exists is a queue that works.
        observe: called in the model's thread with a stage's name and its milliseconds.

    Raises:
        BundleError: the model gives no usable judgment of the first query.
    """

    def __init__(
        self, model: Model, *, observe: Callable[[str, float], None] = lambda stage, ms: None
    ) -> None:
        self._model = model
        self._observe = observe
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scorer")
        self._busy_since: float | None = None
        self._worker.submit(self._prove).result()

    def describe(self) -> dict[str, Any]:
        """What runs here: model, engine, precision and, where there is one, the model's warning."""
        model = self._model
        described = {"model": model.name, "engine": model.engine_name, "precision": model.precision}
        return described | ({"warning": model.warning} if model.warning else {})

    def busy_s(self) -> float:
        """Seconds that the running job has taken so far; 0 when none runs."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def run(self, job: ScoringJob) -> Scored:
        """Judge a job's products when its turn comes. Cancelling the call while it waits drops the job.

        Raises:
            DeadlineExceededError: the deadline passed while the job waited, or between two batches.
            InputError: the model refuses the data.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._judge, job)

    def _judge(self, job: ScoringJob) -> Scored:
        left_s = job.deadline - time.time()
        queued_ms = max(0.0, (time.time() - job.sent_at) * 1000)
        if left_s <= 0:
            raise DeadlineExceededError(
                f"The deadline passed after {queued_ms:.0f} ms in the queue: raise it, or add replicas."
            )
        self._busy_since = time.monotonic()
        try:
            timings: dict[str, float] = {}
            judgments = self._model.judge(
                job.query,
                job.products,
                locale=job.locale,
                knowledge=job.knowledge,
                threshold=job.threshold,
                deadline=self._busy_since + left_s,
                timings=timings,
            )
        finally:
            self._busy_since = None
        timings = {"queue": queued_ms, **timings}
        for stage, ms in timings.items():
            self._observe(stage, ms)
        threshold = self._model.threshold(job.locale) if job.threshold is None else job.threshold
        return Scored(self._model.name, threshold, [_plain(judgment) for judgment in judgments], timings)

    def _prove(self) -> None:
        query, products = FIRST_QUERY
        judgments = self._model.judge(query, products, locale="en")
        if len(judgments) != len(products) or not all(
            math.isfinite(judgment.score) and math.isfinite(judgment.irrelevance) for judgment in judgments
        ):
            raise BundleError(
                f"The model {self._model.name} gives no numbers for {query!r}: its weights are broken."
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
