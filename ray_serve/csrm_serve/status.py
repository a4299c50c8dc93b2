"""The one place where an error becomes an HTTP status and a JSON body.

Knows the error trees of `csrm` and `csrm_serve` and what FastAPI raises by itself; knows no route.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from csrm.errors import CsrmError, DeadlineExceededError, InputError
from csrm.wire import ErrorDetail, ErrorResponse
from csrm_serve.errors import (
    BadBodyError,
    BodyTooLargeError,
    NotReadyError,
    OverloadedError,
    UnknownModelError,
)
from csrm_serve.validation import explain

log = logging.getLogger("ray.serve.csrm")


@dataclass(frozen=True, slots=True)
class Row:
    """The status and type of an error class, and after how many seconds trying again makes sense."""

    error: type[Exception]
    status: HTTPStatus
    type: str
    retry_after_s: int | None = None


TABLE = (
    Row(BadBodyError, HTTPStatus.BAD_REQUEST, "bad_body"),
    Row(BodyTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large"),
    Row(UnknownModelError, HTTPStatus.NOT_FOUND, "unknown_model"),
    Row(InputError, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"),
    Row(OverloadedError, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", retry_after_s=1),
    Row(NotReadyError, HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", retry_after_s=5),
    Row(DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT, "deadline_exceeded"),
    Row(CsrmError, HTTPStatus.INTERNAL_SERVER_ERROR, "model_error"),
)
"""First match wins. What is in no row is a defect of this program: 500 `internal_error`."""


def error_response(error: Exception) -> JSONResponse:
    """The answer to a request that ended in an error.

    Args:
        error: what was raised; anything outside `TABLE` is logged and kept from the client.
    """
    if isinstance(error, RequestValidationError):
        error = explain(error.errors())
    elif isinstance(error, HTTPException):
        return _framework_response(error)
    for row in TABLE:
        if isinstance(error, row.error):
            headers = {"Retry-After": str(row.retry_after_s)} if row.retry_after_s is not None else {}
            return json_error(row.status, row.type, str(error), headers)
    log.error("A request ended in an unforeseen error", exc_info=error)
    return json_error(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The service failed: its log has the traceback."
    )


def json_error(status: int, type_: str, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A body of the one shape all errors have."""
    body = ErrorResponse(error=ErrorDetail(type=type_, reason=reason)).model_dump()
    return JSONResponse(body, status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` by `error_response`."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    for kind in (CsrmError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _framework_response(error: HTTPException) -> JSONResponse:
    """404 and 405 of the router, and 400 of a body that cannot be decoded."""
    if isinstance(error.__cause__, UnicodeDecodeError):
        return error_response(BadBodyError("The body is not UTF-8: encode it so."))
    status = HTTPStatus(error.status_code)
    reason = {
        HTTPStatus.NOT_FOUND: "There is no such path here: /docs lists those there are.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This path takes another method: the Allow header and /docs name it.",
        HTTPStatus.BAD_REQUEST: "The body cannot be read: send one JSON object in UTF-8.",
    }.get(status, f"{error.detail}.")
    return json_error(status, status.name.lower(), reason, dict(error.headers or {}))
