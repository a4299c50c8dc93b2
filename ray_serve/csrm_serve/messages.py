"""What travels between the deployments: plain frozen records of plain Python values, cheap to pickle.

Results travel in their wire form (the JSON objects of `csrm.wire.Judgment` and `KnowledgeUsed`), so that the
ingress passes them on instead of building every judgment a second time.
Times that cross a process are seconds since the epoch: monotonic clocks of two nodes cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from csrm.wire import Level

NO_KNOWLEDGE = "none"
"""The knowledge version of an answer that was given without knowledge."""


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """One query and its products, on the way to a scorer."""

    query: str
    products: Sequence[str]
    locale: str | None
    knowledge: Sequence[str]
    threshold: float | None
    deadline: float
    sent_at: float
    level: Level | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """The judgments of a job, in the order of its products; ``all_layers`` of them were made by the whole model."""

    model: str
    threshold: float
    results: list[dict[str, Any]]
    timings_ms: dict[str, float]
    level: Level = "full"
    all_layers: int = 0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the retriever found for a query, best first."""

    version: str = NO_KNOWLEDGE
    entries: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PartState:
    """How a deployment is doing: why it is not ready (``reason``), or what it serves (``details``)."""

    ready: bool
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"state": "ready" if self.ready else "unavailable", **self.details}
        if self.reason:
            body["reason"] = self.reason
        return body
