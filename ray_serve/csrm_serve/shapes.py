"""What the imitated rerank APIs have in common: their fields, the score of every text, best first. Pure.

Blank texts are not judged: they score 0 and rank last. OpenSearch's own rerank sends an empty text for a product
without the fields, and it must not fail the others. A text that there was no time for scores 0 and says that it was not
scored; it ranks after those that were and before the blank ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from csrm.wire import MAX_PRODUCT_CHARS, MAX_QUERY_CHARS, Level, Locale, Number
from csrm_serve.service import Answer

SCORE_DIGITS = 6
"""OpenSearch's own rerank reads scores of at most so many digits."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PRODUCT_CHARS)]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]


def listed(texts: object) -> object:
    """A list, also where clients send its only text by itself."""
    return [texts] if isinstance(texts, str) else texts


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
    deadline_ms: Number | None = Field(
        default=None,
        gt=0,
        description="Milliseconds from arrival after which the answer is worthless and work stops; of this "
        "service only.",
    )
    partial: bool = Field(
        default=False,
        description="At the deadline, return what was judged until then: the others score 0, say `scored: false` and "
        "rank last; 504 where nothing was. Of this service only.",
    )


def with_text(texts: Sequence[str]) -> list[int]:
    """The places of the texts that can be judged: those that are not blank."""
    return [place for place, text in enumerate(texts) if text]


def scores(texts: Sequence[str], answer: Answer) -> list[float | None]:
    """The score of every text, in their order; None where there was no time for one.

    Args:
        texts: all of them.
        answer: the judgments of those `with_text`, in their order.
    """
    return [_written(score) for score in _exact(texts, answer)]


def best_first(texts: Sequence[str], answer: Answer) -> list[tuple[int, float | None]]:
    """Place and score of every text: those that were scored, those there was no time for, the blank ones.

    Equals keep the order of the request.
    """
    exact = _exact(texts, answer)

    def rank(place: int) -> tuple[bool, bool, float]:
        score = exact[place]
        return not texts[place], score is None, -(score or 0.0)

    return [(place, _written(exact[place])) for place in sorted(range(len(texts)), key=rank)]


def result(index: int, field: str, score: float | None) -> dict[str, Any]:
    """The JSON object of one text, whose score is called ``field``."""
    told: dict[str, Any] = {"index": index, field: 0.0 if score is None else score}
    return told if score is not None else {**told, "scored": False}


def _exact(texts: Sequence[str], answer: Answer) -> list[float | None]:
    places = with_text(texts)
    found: list[float | None] = [None if text else 0.0 for text in texts]
    for judgment in answer.scored.results:
        found[places[judgment["index"]]] = judgment["score"]
    return found


def _written(score: float | None) -> float | None:
    return None if score is None else float(round(score, SCORE_DIGITS))
