"""Our engine as the benchmark runs it, at every level the bundle has. Others are in ``peers``."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from csrm.benchmark.agreement import Scores
from csrm.benchmark.workload import Search
from csrm.model import RelevanceModel
from csrm.wire import Level

LEVELS: tuple[Level, ...] = ("full", "balanced", "fast")


class Scorer(Protocol):
    """Scores a search; several threads may call it at once."""

    name: str
    precision: str
    reading: str
    """What it makes of the answers' logits: a name of ``agreement.readings``."""

    def __call__(self, search: Search) -> Scores: ...

    def flops(self, search: Search, whole: float) -> float:
        """What it computes for a search at least, where all layers of the model take ``whole``."""
        ...


class Csrm:
    """A relevance model at one level, without its cache of grades."""

    reading = "gain"

    def __init__(self, model: RelevanceModel, level: Level, layers: int) -> None:
        self.name = f"csrm-{level}"
        self.precision = model.precision
        self._model = model
        self._level = level
        self._seen = self._went_on = 0
        early_exit = model.bundle.manifest.exit
        self._early = early_exit.layer / layers if early_exit else 1.0
        self._encoder = model.encoder

    def __call__(self, search: Search) -> Scores:
        judged = self._model.judge(search.query, search.products, locale=search.locale, level=self._level)
        self._seen += len(search.products)
        self._went_on += judged.all_layers
        return np.array([judgment.score for judgment in judged.results])

    def flops(self, search: Search, whole: float) -> float:
        """Of those that leave early, the first layers or the cross-encoder only: as many as did so far."""
        went_on = self._went_on / self._seen if self._seen else 1.0
        beside = 0.0
        if self._encoder:
            beside = self._encoder.flops(self._encoder.encode(search.query, search.products))
            beside *= 1.0 if self._model.bundle.judges_first else went_on
        return beside + whole * (self._early + (1 - self._early) * went_on)


def levels(model: RelevanceModel, layers: int) -> list[Csrm]:
    """One scorer for each level that this model really has; ``layers`` are those of its base."""
    return [Csrm(model, level, layers) for level in LEVELS if model.level(level) == level]
