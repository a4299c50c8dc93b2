"""Cohere's rerank API (v1 and v2) and Jina's, which has the same fields: requests read, answers written. Pure.

Shapes: https://docs.cohere.com/reference/rerank and https://api.jina.ai/redoc; vLLM's /rerank is like the latter.
Every document comes back unless ``top_n`` is given, indexes are integers, and a score is a JSON float of at most
six digits: OpenSearch's own rerank needs all three. One answer has the fields of all of them.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from csrm.wire import MAX_PRODUCTS
from csrm_serve.service import Answer
from csrm_serve.shapes import ImitatedRequest, Query, Text, best_first, listed, result, with_text

NOTHING_BILLED = {"prompt_tokens": 0, "total_tokens": 0}
"""Jina's clients read the second, vLLM's both; tokens are what others bill, and nothing is billed here."""


class TextDocument(BaseModel):
    """A document as an object."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text: Text


def _text_of(document: object) -> object:
    if not isinstance(document, dict):
        return document
    if "text" not in document:
        raise PydanticCustomError("no_text", "neither a string nor an object with text")
    return document["text"]


_Document = Annotated[Text, BeforeValidator(_text_of, json_schema_input_type=str | TextDocument)]
_OneOrMore = BeforeValidator(listed, json_schema_input_type=str | list[str | TextDocument])


class RerankRequest(ImitatedRequest):
    """One query and the documents to rank for it (``POST /v1/rerank`` and ``/v2/rerank``)."""

    query: Query
    documents: Annotated[list[_Document], _OneOrMore] = Field(
        min_length=1, max_length=MAX_PRODUCTS, description="Several, or one text by itself, as vLLM allows."
    )
    top_n: int | None = Field(
        default=None, ge=0, strict=True, description="Return only the best so many; all if null or 0."
    )
    return_documents: bool = Field(
        default=False, description="Return the text of each document with its score."
    )

    @property
    def with_text(self) -> list[int]:
        """The places of the documents that can be judged."""
        return with_text(self.documents)


class JinaRerankRequest(RerankRequest):
    """The same as Jina's and vLLM's clients send it to ``POST /rerank``: documents come back unless refused."""

    return_documents: bool = Field(
        default=True, description="Return the text of each document with its score."
    )


def rerank_response(request: RerankRequest, answer: Answer, *, version: str) -> dict[str, Any]:
    """The JSON object of an answer, best document first.

    Args:
        answer: the judgments of the documents ``with_text``, in their order.
        version: of Cohere's API, ``1`` or ``2``.
    """
    results = []
    for index, score in best_first(request.documents, answer)[: request.top_n or None]:
        told = result(index, "relevance_score", score)
        if request.return_documents:
            told["document"] = {"text": request.documents[index]}
        results.append(told)
    model = answer.scored.model
    meta: dict[str, Any] = {"api_version": {"version": version}, "model": model}
    if request.partial:
        meta["scored"] = len(answer.scored.results)
    return {
        "id": str(uuid.uuid4()),
        "model": model,
        "usage": NOTHING_BILLED,
        "results": results,
        "meta": meta,
    }
