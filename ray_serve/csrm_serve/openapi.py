"""What the OpenAPI document shows beside the models: an example of every request and answer, and every error.

Knows the error table; knows no route. The examples are answered by the tests, and held against what is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response

from csrm.wire import ErrorResponse

_SAID = {
    400: "The body is not UTF-8 or not a JSON object.",
    401: "The service asks for a key, and the request brings none that it knows.",
    404: "The request names a model that is not served.",
    413: "The body is too large.",
    422: "A field is wrong; the reason names it.",
    429: "This key has too many requests under way; Retry-After says when to come again.",
    503: "No scorer is ready, or too many requests wait; Retry-After says when to come again.",
    504: "The deadline passed.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` for these statuses."""
    return {status: {"model": ErrorResponse, "description": _SAID[status]} for status in statuses}


ERRORS = errors(*_SAID)


def answers(model: Any) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` of a path with this answer and every error."""
    return {200: {"model": model}, **ERRORS}


def json_response(body: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response without building the response's model a second time."""
    return Response(orjson.dumps(body), status_code, headers, "application/json")


def _named(bodies: Mapping[str, Any]) -> dict[str, Any]:
    named = {name.replace("_", " "): {"value": body} for name, body in bodies.items()}
    return {"content": {"application/json": {"examples": named}}}


def answered(**bodies: Any) -> dict[str, Any]:
    """FastAPI's ``openapi_extra`` of a path with examples of its answer."""
    return {"responses": {"200": _named(bodies)}}


def _examples(requests: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """The same with examples of the request, each of the name that its answer has."""
    return {"requestBody": _named(requests), **answered(**answers)}


_KOREAN = {
    "query": "에어팟 케이스",
    "products": ["AirPods Pro 2 실리콘 케이스, 블랙", "Apple AirPods Pro 2세대"],
    "locale": "ko",
    "deadline_ms": 1000,
    "explain": True,
}
_SPANISH = {
    "query": "zapatillas de correr",
    "products": ["Zapatillas de trail running, talla 42", "Betún para zapatos, negro"],
    "locale": "es",
}
_DOCUMENTS = ["Trail running shoes, size 42", "Shoe polish, black"]
_COHERE = {"query": "running shoes", "documents": _DOCUMENTS, "top_n": 1}

_MODEL = "csrm-gemma3-270m@4"


def _judgment(index: int, exact: float, decision: str) -> dict[str, Any]:
    grades = {"E": exact, "S": 0.0, "C": 0.0, "I": 1 - exact}
    return {
        "index": index,
        "grades": grades,
        "score": exact,
        "irrelevance": 1 - exact,
        "decision": decision,
    }


def _judged(locale: str) -> dict[str, Any]:
    return {
        "model": _MODEL,
        "locale": locale,
        "threshold": 0.625,
        "knowledge_version": "none",
        "results": [_judgment(0, 0.75, "keep"), _judgment(1, 0.25, "remove")],
        "level": "balanced",
        "scored": 2,
        "all_layers": 2,
        "knowledge": None,
        "timings_ms": None,
    }


def _ranked(version: str, **result: Any) -> dict[str, Any]:
    return {
        "id": "4ad33c5f-5f2b-4d6c-8b3e-1d1c3c6f6a3e",
        "model": _MODEL,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
        "results": [{"index": 0, "relevance_score": 0.75, **result}],
        "meta": {"api_version": {"version": version}, "model": _MODEL},
    }


def _scored(*scores: float) -> dict[str, Any]:
    return {
        "id": "score-4ad33c5f-5f2b-4d6c-8b3e-1d1c3c6f6a3e",
        "object": "list",
        "created": 1_790_000_000,
        "model": _MODEL,
        "data": [{"object": "score", "index": place, "score": score} for place, score in enumerate(scores)],
        "usage": {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0},
    }


RELEVANCE = _examples(
    {"one_query": {**_KOREAN, "explain": False}, "several_queries": {"requests": [_KOREAN, _SPANISH]}},
    {
        "one_query": _judged("ko"),
        "several_queries": {"responses": [{"status": 200, **_judged(locale)} for locale in ("ko", "es")]},
    },
)
COHERE_1 = _examples({"Cohere": _COHERE}, {"Cohere": _ranked("1")})
COHERE_2 = _examples({"Cohere": _COHERE}, {"Cohere": _ranked("2")})
RERANK = _examples(
    {"TEI": {"query": "running shoes", "texts": _DOCUMENTS, "return_text": True}, "Jina": _COHERE},
    {
        "TEI": [
            {"index": 0, "score": 0.75, "text": _DOCUMENTS[0]},
            {"index": 1, "score": 0.25, "text": _DOCUMENTS[1]},
        ],
        "Jina": _ranked("1", document={"text": _DOCUMENTS[0]}),
    },
)
SCORE = _examples(
    {
        "one_query": {"text_1": "running shoes", "text_2": _DOCUMENTS},
        "pairs": {"queries": ["running shoes", "shoe polish"], "documents": _DOCUMENTS},
    },
    {"one_query": _scored(0.75, 0.25), "pairs": _scored(0.75, 0.75)},
)
MODELS = answered(
    one_model={
        "object": "list",
        "data": [{"id": _MODEL, "object": "model", "created": 1_790_000_000, "owned_by": "csrm"}],
    }
)
READY = answered(
    ready={
        "status": "ready",
        "scorer": {"state": "ready", "model": _MODEL, "engine": "csrm", "precision": "fp32"},
        "retriever": {"state": "ready"},
    }
)
