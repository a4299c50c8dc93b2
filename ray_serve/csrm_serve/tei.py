"""The rerank API of text-embeddings-inference (TEI): requests read, answers written. Pure.

Shape: https://huggingface.github.io/text-embeddings-inference. ``truncate`` is accepted and changes nothing: a text
longer than the model's limit is always cut at its end.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from csrm.wire import MAX_PRODUCTS
from csrm_serve.service import Answer
from csrm_serve.shapes import SCORE_DIGITS, ImitatedRequest, Query, Text, best_first, result

_SMALLEST = 10.0**-SCORE_DIGITS


class TeiRerankRequest(ImitatedRequest):
    """One query and the texts to rank for it (``POST /rerank``)."""

    query: Query
    texts: list[Text] = Field(min_length=1, max_length=MAX_PRODUCTS)
    raw_scores: bool = Field(
        default=False, description="Scores before the sigmoid, which makes them the scores in [0, 1]."
    )
    return_text: bool = Field(default=False, description="Return each text with its score.")


def ranks(request: TeiRerankRequest, answer: Answer) -> list[dict[str, Any]]:
    """The JSON array of an answer, best text first.

    Args:
        answer: the judgments of the texts that are not blank, in their order.
    """
    found = []
    for index, score in best_first(request.texts, answer):
        rank = result(index, "score", score)
        if request.raw_scores:
            rank["score"] = _logit(rank["score"])
        if request.return_text:
            rank["text"] = request.texts[index]
        found.append(rank)
    return found


def _logit(score: float) -> float:
    """What the sigmoid turns into ``score``; finite at both ends."""
    inside = min(max(score, _SMALLEST), 1 - _SMALLEST)
    return round(math.log(inside / (1 - inside)), SCORE_DIGITS)
