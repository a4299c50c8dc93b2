"""What the OpenAPI document shows beside the models: an example of every request, and every error.

Knows the error table; knows no route. The examples are answered by the tests.
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


def json_response(body: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response without building the response's model a second time."""
    return Response(orjson.dumps(body), status_code, headers, "application/json")


def _examples(**bodies: dict[str, Any]) -> dict[str, Any]:
    named = {name.replace("_", " "): {"value": body} for name, body in bodies.items()}
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


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

RELEVANCE = _examples(one_query=_KOREAN, several_queries={"requests": [_KOREAN, _SPANISH]})
COHERE = _examples(Cohere=_COHERE)
RERANK = _examples(TEI={"query": "running shoes", "texts": _DOCUMENTS, "return_text": True}, Jina=_COHERE)
SCORE = _examples(
    one_query={"text_1": "running shoes", "text_2": _DOCUMENTS},
    pairs={"queries": ["running shoes", "shoe polish"], "documents": _DOCUMENTS},
)
