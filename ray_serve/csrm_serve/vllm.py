"""The score API of vLLM: pairs of texts read, one score each written. Pure.

Shape: https://docs.vllm.ai/en/latest/models/pooling_models.html. One query for many documents, or as many queries as
documents, pair by pair. For ``text_1`` and ``text_2`` clients also say ``data_1`` and ``data_2``, or ``queries`` and
``documents`` or ``items``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from csrm.wire import MAX_PRODUCTS
from csrm_serve.shapes import ImitatedRequest, Query, Text, listed, result


def _paired(documents: list[str], info: ValidationInfo) -> list[str]:
    queries = len(info.data.get("text_1", ()))  # none where they are wrong themselves
    if queries > 1 and len(documents) != queries:
        raise PydanticCustomError(
            "not_paired",
            "{documents} for {queries} queries: send one query, or as many as documents",
            {"documents": len(documents), "queries": queries},
        )
    return documents


_OneOrMore = BeforeValidator(listed, json_schema_input_type=str | list[str])


class ScoreRequest(ImitatedRequest):
    """Pairs to score (``POST /score`` and ``/v1/score``)."""

    text_1: Annotated[list[Query], _OneOrMore] = Field(
        min_length=1,
        max_length=MAX_PRODUCTS,
        validation_alias=AliasChoices("text_1", "queries", "data_1"),
        description="One query, or one for each document.",
    )
    text_2: Annotated[list[Text], _OneOrMore, AfterValidator(_paired)] = Field(
        min_length=1,
        max_length=MAX_PRODUCTS,
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2"),
        description="One document or several.",
    )

    def pairs(self) -> list[tuple[str, str]]:
        """Query and document of every pair, in their order."""
        queries = self.text_1 * len(self.text_2) if len(self.text_1) == 1 else self.text_1
        return list(zip(queries, self.text_2, strict=True))


def score_response(model: str, found: Sequence[float | None]) -> dict[str, Any]:
    """The JSON object of an answer: the score of every pair, in their order; None where there was no time for one."""
    return {
        "id": f"score-{uuid.uuid4()}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [{"object": "score", **result(index, "score", score)} for index, score in enumerate(found)],
        "usage": {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0},
    }
