"""What the OpenAPI document says of the answers that are written as plain objects, for their clients.

Nothing is validated by these on its way out: the tests hold every answer against them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from csrm.wire import ErrorDetail

_UNSCORED = "false where there was no time for it (with partial); else not there."


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Document(_Answer):
    """The text of a document."""

    text: str


class RankedDocument(_Answer):
    """A document's place in the request and its score in [0, 1]."""

    index: int
    relevance_score: float
    document: Document | None = None
    scored: Literal[False] | None = Field(default=None, description=_UNSCORED)


class ApiVersion(_Answer):
    """Of Cohere's API."""

    version: Literal["1", "2"]


class Meta(_Answer):
    """What Cohere's clients read beside the results."""

    api_version: ApiVersion
    model: str
    scored: int | None = Field(default=None, description="How many documents were scored; with partial.")


class Usage(_Answer):
    """Nothing is billed."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(_Answer):
    """Documents, best first, as Cohere, Jina and vLLM return them."""

    id: str
    model: str
    usage: Usage
    results: list[RankedDocument]
    meta: Meta


class Rank(_Answer):
    """A text's place in the request and its score, as TEI returns it."""

    index: int
    score: float
    text: str | None = None
    scored: Literal[False] | None = Field(default=None, description=_UNSCORED)


class PairScore(_Answer):
    """The score of a pair, as vLLM returns it."""

    object: Literal["score"]
    index: int
    score: float
    scored: Literal[False] | None = Field(default=None, description=_UNSCORED)


class ScoreUsage(Usage):
    """Nothing is billed."""

    completion_tokens: int


class ScoreAnswer(_Answer):
    """The score of every pair, in the order of the request."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[PairScore]
    usage: ScoreUsage


class ServedModel(_Answer):
    """A model that requests may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(_Answer):
    """The served models; the first answers where none is named."""

    object: Literal["list"]
    data: list[ServedModel]


class Alive(_Answer):
    """The process answers."""

    status: Literal["ok"]


class Part(BaseModel):
    """A deployment: what it serves, or why it does not."""

    model_config = ConfigDict(extra="allow")

    state: Literal["ready", "unavailable"]
    reason: str | None = None


class Parts(_Answer):
    """The deployments of one model."""

    scorer: Part
    retriever: Part


class Ready(Parts):
    """A query would be answered now; ``also`` has the further models by bundle."""

    status: Literal["ready"]
    also: dict[str, Parts] | None = None


class NotReady(Parts):
    """No query would be answered now, and why."""

    error: ErrorDetail
    detail: str
    also: dict[str, Parts] | None = None
