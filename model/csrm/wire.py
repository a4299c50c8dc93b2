"""What the gateway and the Serve application agree on: requests and responses of the relevance API.

Light on purpose: pydantic only, neither torch nor ray, so that both sides of the wire import the same models
and can still be deployed, scaled and upgraded apart. Fields may be added; none may change its meaning.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_QUERY_CHARS = 2_000
MAX_PRODUCTS = 1_000
MAX_PRODUCT_CHARS = 20_000
MAX_BODY_BYTES = 32 * 1024 * 1024

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A JSON number: no text, no true or false, and none of the infinities that Python's parser takes."""

Locale = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
"""A BCP 47 language tag such as ``ko`` or ``zh-TW``."""


ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""A model as ``/v1/models`` names it, ``name@version``, or its name alone."""


def is_called(name: str, model: ModelName) -> bool:
    """Whether the model of this full ``name`` is one that is meant by ``model``."""
    return model in (name, name.partition("@")[0])


Precision = Literal["auto", "fp32", "bf16", "int8"]
"""Number format of a model's weights; ``auto`` measures at the start."""

Level = Literal["fast", "balanced", "full"]
"""How deep products are judged: by what judges first alone (a cross-encoder, or the model's first layers); the unsure
and the page's by all layers; all by all."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RelevanceRequest(_Wire):
    """One query and the products to judge for it (``POST /v1/relevance``)."""

    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
    products: list[
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PRODUCT_CHARS)]
    ] = Field(min_length=1, max_length=MAX_PRODUCTS, description="Product texts, in lexical order.")
    model: ModelName | None = Field(
        default=None,
        description="As /v1/models names it, with or without the version; the server's first if null.",
    )
    locale: Locale | None = Field(default=None, description="Language of the shop; picks the threshold.")
    threshold: Number | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Irrelevance above which a product is removed; the bundle's own if null.",
    )
    deadline_ms: Number | None = Field(
        default=None,
        gt=0,
        description="Milliseconds from arrival after which the answer is worthless and work stops.",
    )
    level: Level | None = Field(
        default=None,
        description="fast: by the cross-encoder or the first layers alone; balanced: products near the threshold or "
        "the page go through all layers; full: all do. The server's own if null; full where nothing judges first.",
    )
    partial: bool = Field(
        default=False,
        description="At the deadline, return what was judged until then instead of an error, the first products "
        "first; 504 where that is nothing.",
    )
    explain: bool = Field(default=False, description="Also return the knowledge used and the stage timings.")


class GradeProbabilities(_Wire):
    """Probabilities of the four ESCI grades; they sum to one."""

    E: float
    S: float
    C: float
    I: float  # noqa: E741  (the field's own name of the grade)


class Judgment(_Wire):
    """What the model says of one product. ``index`` is its place in the request."""

    index: int
    grades: GradeProbabilities
    score: float = Field(description="Expected gain of the grades in [0, 1]; orders.")
    irrelevance: float = Field(description="Calibrated P(C or I) in [0, 1]; filters.")
    decision: Literal["keep", "remove"]


class KnowledgeUsed(_Wire):
    """A knowledge entry that was put before the products in the prompt."""

    id: str
    kind: Literal["query", "term", "category"]
    text: str
    locale: str | None = None
    similarity: float


class RelevanceResponse(_Wire):
    """Judgments in the order of the request. One for every product; with ``partial``, for those ``scored`` in time."""

    model: str = Field(description="Name and version of the bundle, e.g. csrm-gemma3-270m@1.")
    locale: str | None
    threshold: float
    knowledge_version: str
    results: list[Judgment]
    level: Level = Field(default="full", description="The level that the products were judged at.")
    scored: int | None = Field(default=None, description="How many products were judged; all if null.")
    all_layers: int | None = Field(
        default=None, description="How many of these by all layers of the model; all if null."
    )
    knowledge: list[KnowledgeUsed] | None = None
    timings_ms: dict[str, float] | None = None


class ErrorDetail(_Wire):
    type: str
    reason: str


class ErrorResponse(_Wire):
    """The JSON body of every error: ``{"error": {"type", "reason"}, "detail"}``; the last is the reason once more."""

    error: ErrorDetail
    detail: str | None = Field(
        default=None, description="The reason, where clients of Jina and of FastAPI's services look for it."
    )
