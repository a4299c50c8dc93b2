"""What the imitated rerank APIs have in common: their fields, the score of every text, best first. Pure.

Blank texts are not judged: they score 0 and rank last. OpenSearch's own rerank sends an empty text for a product
without the fields, and it must not fail the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from csrm.wire import MAX_PRODUCT_CHARS, MAX_QUERY_CHARS, Level, Locale
from csrm_serve.service import Answer

SCORE_DIGITS = 6
"""OpenSearch's own rerank reads scores of at most so many digits."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PRODUCT_CHARS)]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]


class ImitatedRequest(BaseModel):
    """A request in another server's shape, with what ours knows beside it."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # clients send fields of their servers' own

    model: str | None = Field(
        default=None, description="As /v1/models names it, with or without the version; the first if null."
    )
    locale: Locale | None = Field(default=None, description="Language of the shop; of this service only.")
    level: Level | None = Field(
        default=None, description="How deep texts are judged, as in /v1/relevance; of this service only."
    )
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        description="Milliseconds from arrival after which the answer is worthless and work stops; of this "
        "service only.",
    )


def with_text(texts: Sequence[str]) -> list[int]:
    """The places of the texts that can be judged: those that are not blank."""
    return [place for place, text in enumerate(texts) if text]


def scores(texts: Sequence[str], answer: Answer) -> list[float]:
    """The score of every text, in their order.

    Args:
        texts: all of them.
        answer: the judgments of those `with_text`, in their order.
    """
    return [_written(score) for score in _exact(texts, answer)]


def best_first(texts: Sequence[str], answer: Answer) -> list[tuple[int, float]]:
    """Place and score of every text; equal scores keep the order of the request, blank texts come last."""
    exact = _exact(texts, answer)
    order = sorted(range(len(texts)), key=lambda place: (not texts[place], -exact[place]))
    return [(place, _written(exact[place])) for place in order]


def _exact(texts: Sequence[str], answer: Answer) -> list[float]:
    places = with_text(texts)
    found = [0.0] * len(texts)
    for judgment in answer.scored.results:
        found[places[judgment["index"]]] = judgment["score"]
    return found


def _written(score: float) -> float:
    return float(round(score, SCORE_DIGITS))
