"""Cohere's rerank API (v1 and v2), as clients of rerankers speak it: requests read, answers written. Pure.

Shape: https://docs.cohere.com/reference/rerank. Every document comes back unless ``top_n`` is given, indexes
are integers, and a score is a JSON float of at most six digits: OpenSearch's own rerank needs all three. It
also sends an empty text for a product without the fields; that one ranks last instead of failing the others.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from csrm.wire import MAX_PRODUCT_CHARS, MAX_PRODUCTS, MAX_QUERY_CHARS, Locale
from csrm_serve.errors import UnknownModelError
from csrm_serve.service import Answer

SCORE_DIGITS = 6

_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PRODUCT_CHARS)]


class _Cohere(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # other servers' clients send fields of their own


class TextDocument(_Cohere):
    """A document as an object."""

    text: _Text


def _text_of(document: object) -> object:
    if not isinstance(document, dict):
        return document
    if "text" not in document:
        raise PydanticCustomError("no_text", "neither a string nor an object with text")
    return document["text"]


_Document = Annotated[_Text, BeforeValidator(_text_of, json_schema_input_type=str | TextDocument)]


class RerankRequest(_Cohere):
    """One query and the documents to rank for it (``POST /v1/rerank`` and ``/v2/rerank``)."""

    model: str | None = Field(default=None, description="As /v1/models names it; the served model if null.")
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
    documents: list[_Document] = Field(min_length=1, max_length=MAX_PRODUCTS)
    top_n: int | None = Field(default=None, ge=1, description="Return only the best so many; all if null.")
    return_documents: bool = Field(
        default=False, description="Return the text of each document with its score."
    )
    locale: Locale | None = Field(default=None, description="Language of the shop; not part of Cohere's API.")
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        description="Milliseconds from arrival after which the answer is worthless and work stops; not part of "
        "Cohere's API.",
    )

    @property
    def with_text(self) -> list[int]:
        """The places of the documents that can be judged: those that are not blank."""
        return [index for index, text in enumerate(self.documents) if text]


def check_model(asked: str | None, served: str) -> None:
    """Accept the served name, with or without its version, and no name at all.

    Raises:
        UnknownModelError: another model is asked for.
    """
    if asked is not None and asked not in (served, served.partition("@")[0]):
        raise UnknownModelError(f"This service has no such model: ask for {served}, or leave model out.")


def rerank_response(request: RerankRequest, answer: Answer, *, version: str) -> dict[str, Any]:
    """The JSON object of an answer, best document first; equal scores keep the order of the request.

    Args:
        answer: the judgments of the documents ``with_text``, in their order. Blank documents come last.
        version: of Cohere's API, ``1`` or ``2``.
    """
    places = request.with_text
    scores = {places[judgment["index"]]: judgment["score"] for judgment in answer.scored.results}
    order = sorted(places, key=lambda index: -scores[index])
    order += [index for index in range(len(request.documents)) if index not in scores]
    results = []
    for index in order[: request.top_n]:
        result: dict[str, Any] = {
            "index": index,
            "relevance_score": float(round(scores.get(index, 0.0), SCORE_DIGITS)),
        }
        if request.return_documents:
            result["document"] = {"text": request.documents[index]}
        results.append(result)
    meta = {"api_version": {"version": version}, "model": answer.scored.model}
    return {"id": str(uuid.uuid4()), "results": results, "meta": meta}
