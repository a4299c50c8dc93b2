"""The one place where an error becomes an HTTP status and a JSON body.

Knows the error trees of `csrm` and `csrm_serve` and what FastAPI raises by itself; knows no route.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from csrm.errors import CsrmError, DeadlineExceededError, InputError, OutOfMemoryError
from csrm.wire import ErrorDetail, ErrorResponse
from csrm_serve.errors import (
    BadBodyError,
    BodyTooLargeError,
    NotReadyError,
    OverloadedError,
    TooManyRequestsError,
    TooSlowError,
    UnknownKeyError,
    UnknownModelError,
)
from csrm_serve.validation import explain

log = logging.getLogger("ray.serve.csrm")


@dataclass(frozen=True, slots=True)
class Row:
    """The status and type of an error class, and what its answer's headers say."""

    error: type[Exception]
    status: HTTPStatus
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)


TABLE = (
    Row(BadBodyError, HTTPStatus.BAD_REQUEST, "bad_body"),
    Row(UnknownKeyError, HTTPStatus.UNAUTHORIZED, "unknown_key", {"WWW-Authenticate": "Bearer"}),
    Row(UnknownModelError, HTTPStatus.NOT_FOUND, "unknown_model"),
    Row(TooSlowError, HTTPStatus.REQUEST_TIMEOUT, "too_slow", {"Connection": "close"}),
    Row(BodyTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large"),
    Row(InputError, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"),
    Row(TooManyRequestsError, HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", {"Retry-After": "1"}),
    Row(OverloadedError, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", {"Retry-After": "1"}),
    Row(NotReadyError, HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", {"Retry-After": "5"}),
    Row(OutOfMemoryError, HTTPStatus.SERVICE_UNAVAILABLE, "out_of_memory", {"Retry-After": "5"}),
    Row(DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT, "deadline_exceeded"),
    Row(CsrmError, HTTPStatus.INTERNAL_SERVER_ERROR, "model_error"),
)
"""First match wins. What is in no row is a defect of this program: 500 `internal_error`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told of an error."""

    status: HTTPStatus
    type: str
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The one shape that all errors have."""
        error = ErrorDetail(type=self.type, reason=self.reason)
        return ErrorResponse(error=error, detail=self.reason).model_dump()


def refusal(error: Exception) -> Refusal:
    """What is told of a request that ended in an error.

    Args:
        error: what was raised; anything outside `TABLE` is logged and kept from the client.
    """
    if isinstance(error, RequestValidationError):
        error = explain(error.errors())
    elif isinstance(error, HTTPException):
        return _of_framework(error)
    for row in TABLE:
        if isinstance(error, row.error):
            return Refusal(row.status, row.type, str(error), row.headers)
    log.error("A request ended in an unforeseen error", exc_info=error)
    reason = "The service failed: its log has the traceback."
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", reason)


def error_response(error: Exception) -> JSONResponse:
    """The answer to a request that ended in an error."""
    told = refusal(error)
    return JSONResponse(told.as_json(), told.status, dict(told.headers))


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` by `error_response`."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    for kind in (CsrmError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _of_framework(error: HTTPException) -> Refusal:
    """404 and 405 of the router, and 400 of a body that cannot be decoded."""
    if isinstance(error.__cause__, UnicodeDecodeError):
        return refusal(BadBodyError("The body is not UTF-8: encode it so."))
    status = HTTPStatus(error.status_code)
    reason = {
        HTTPStatus.NOT_FOUND: "There is no such path here: /docs lists those there are.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This path takes another method: the Allow header and /docs name it.",
        HTTPStatus.BAD_REQUEST: "The body cannot be read: send one JSON object in UTF-8.",
    }.get(status, f"{error.detail}.")
    return Refusal(status, status.name.lower(), reason, error.headers or {})
