"""An application without Ray: the real service, queue, routes and error table around a small model.

`WordModel` is the seam: it judges by shared words, so that what is tested is everything around a model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import pytest
from fastapi.testclient import TestClient

from csrm.errors import DeadlineExceededError
from csrm.model import Judged
from csrm.wire import GradeProbabilities, Judgment, Level
from csrm_serve.api import create_api
from csrm_serve.messages import Knowledge, PartState, Scored, ScoringJob
from csrm_serve.models import Models
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.service import RelevanceService


class WordModel:
    """Relevant when a product shares a word with the query; takes ``seconds_each`` a product, one a step.

    At level fast it judges by the query's first word alone; balanced, the first product by all words.
    """

    name = "words@1"
    engine_name = "words"
    precision = "exact"
    warning: str | None = None

    def __init__(self, seconds_each: float = 0.0) -> None:
        self.seconds_each = seconds_each
        self.judged: list[str] = []
        self.steps: list[str] = []
        self.knowledge: list[str] = []

    def threshold(self, locale: str | None) -> float:
        return 0.4 if locale == "ko" else 0.5

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
    ) -> Generator[float, None, Judged]:
        self.judged.append(query)
        self.knowledge = list(knowledge)
        limit = self.threshold(locale) if threshold is None else threshold
        words, level = query.lower().split(), level or "full"
        judgments = []
        for index, product in enumerate(products):
            if self.seconds_each:
                time.sleep(self.seconds_each)
            self.steps.append(query)
            if deadline is not None and time.monotonic() > deadline:
                if partial and judgments:
                    break
                raise DeadlineExceededError("The deadline passed between two products.")
            asked = words if level == "full" or (level == "balanced" and index == 0) else words[:1]
            exact = len(set(asked) & set(product.lower().split())) / len(asked)
            judgments.append(
                Judgment(
                    index=index,
                    grades=GradeProbabilities(E=exact, S=0.0, C=0.0, I=1 - exact),
                    score=exact,
                    irrelevance=1 - exact,
                    decision="remove" if 1 - exact > limit else "keep",
                )
            )
            yield (len(products) - index - 1) * self.seconds_each
        if timings is not None:
            timings |= {"tokenise": 0.1, "prefix": 0.2, "products": 0.3}
        deep = {"full": len(judgments), "balanced": 1, "fast": 0}[level]
        return Judged(judgments, level, limit, deep)


class QueueScorer:
    """The scorer deployment's queue, called directly instead of through a handle."""

    def __init__(self, queue: ScoringQueue) -> None:
        self.queue = queue
        self.failure: Exception | None = None

    async def judge(self, job: ScoringJob) -> Scored:
        if self.failure is not None:
            raise self.failure
        return await self.queue.run(job)

    async def state(self) -> PartState:
        if self.failure is not None:
            return PartState(False, str(self.failure))
        return PartState(True, details=self.queue.describe())


class OneFact:
    """A retriever that knows one thing about every query."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.seconds = 0.0

    async def retrieve(self, query: str, locale: str | None, *, timeout_s: float) -> Knowledge:
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        entry = {
            "id": "f1",
            "kind": "term",
            "text": f"{query} = itself",
            "locale": locale,
            "similarity": 0.9,
        }
        return Knowledge("v1", [entry])

    async def state(self) -> PartState:
        return PartState(self.failure is None, None if self.failure is None else str(self.failure))


@pytest.fixture
def model() -> WordModel:
    return WordModel()


@pytest.fixture
def scorer(model: WordModel) -> QueueScorer:
    scorer = QueueScorer(ScoringQueue(model))
    model.judged.clear()  # the queue has judged its first query already
    return scorer


@pytest.fixture
def retriever() -> OneFact:
    return OneFact()


@pytest.fixture
def service(scorer: QueueScorer, retriever: OneFact) -> RelevanceService:
    return RelevanceService(scorer, retriever, default_deadline_ms=5_000, knowledge_budget_ms=100)


MakeClient = Callable[..., TestClient]


@pytest.fixture
def models(service: RelevanceService) -> Models:
    return Models({"words": service})


@pytest.fixture
def make_client(models: Models) -> MakeClient:
    def make(**options: int) -> TestClient:
        return TestClient(create_api(models, **options), raise_server_exceptions=False)

    return make


@pytest.fixture
def client(make_client: MakeClient) -> Iterator[TestClient]:
    with make_client() as client:
        yield client
