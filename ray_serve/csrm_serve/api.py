"""The HTTP API of the relevance service: routes, and nothing that a route does not need.

    POST /v1/relevance   grades, score, irrelevance and decision of every product
    POST /v2/rerank      the same model in Cohere's shape; /v1/rerank too
    GET  /v1/models      what is served
    GET  /healthz        the process answers
    GET  /readyz         a query would be answered now, or why not

Knows HTTP and `RelevanceService`; knows no Ray. Errors are answered by `csrm_serve.status`.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from csrm.wire import MAX_BODY_BYTES, ErrorResponse, RelevanceRequest, RelevanceResponse
from csrm_serve import status
from csrm_serve.body_limit import ARRIVED, BodyLimit
from csrm_serve.cohere import RerankRequest, check_model, rerank_response
from csrm_serve.errors import NotReadyError
from csrm_serve.messages import Knowledge, Scored
from csrm_serve.service import Answer, RelevanceService

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorResponse, "description": description}
    for code, description in {
        400: "The body is not UTF-8 or not JSON.",
        413: "The body is too large.",
        422: "A field is wrong; the reason names it.",
        503: "No scorer is ready, or too many requests wait; Retry-After says when to come again.",
        504: "The deadline passed.",
    }.items()
}

_RELEVANCE_EXAMPLE = {
    "query": "에어팟 케이스",
    "products": ["AirPods Pro 2 실리콘 케이스, 블랙", "Apple AirPods Pro 2세대"],
    "locale": "ko",
    "deadline_ms": 1000,
    "explain": True,
}
_RERANK_EXAMPLE = {
    "query": "running shoes",
    "documents": ["Trail running shoes, size 42", "Shoe polish, black"],
}


def create_api(service: RelevanceService, *, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """The ASGI application.

    Args:
        service: answers the requests.
        max_body_bytes: largest body that is read.
    """
    app = FastAPI(
        title="CSRM relevance service",
        version=version("csrm-opensearch"),
        summary="Judges how well products answer a shopper's query.",
    )
    status.install(app)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)

    @app.post(
        "/v1/relevance",
        response_model=RelevanceResponse,
        responses=_ERRORS,
        openapi_extra=_example(_RELEVANCE_EXAMPLE),
    )
    async def relevance(body: RelevanceRequest, request: Request) -> Response:
        """Judge every product; results come in the order of the request."""
        answer = await service.judge(
            body.query,
            body.products,
            locale=body.locale,
            threshold=body.threshold,
            deadline_ms=body.deadline_ms,
            arrived=request.scope["state"][ARRIVED],
        )
        return _json(
            {
                "model": answer.scored.model,
                "locale": body.locale,
                "threshold": answer.scored.threshold,
                "knowledge_version": answer.knowledge.version,
                "results": answer.scored.results,
                "knowledge": answer.knowledge.entries if body.explain else None,
                "timings_ms": answer.timings_ms if body.explain else None,
            }
        )

    async def ranked(body: RerankRequest, request: Request, version: str) -> Response:
        if body.model is not None:
            check_model(body.model, await service.model())
        texts = [body.documents[index] for index in body.with_text]
        if texts:
            answer = await service.judge(
                body.query,
                texts,
                locale=body.locale,
                deadline_ms=body.deadline_ms,
                arrived=request.scope["state"][ARRIVED],
            )
        else:  # nothing to judge
            answer = Answer(Scored(await service.model(), 0.0, [], {}), Knowledge(), {})
        return _json(rerank_response(body, answer, version=version))

    @app.post("/v1/rerank", responses=_ERRORS, openapi_extra=_example(_RERANK_EXAMPLE))
    async def rerank_v1(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v1 API does, best first."""
        return await ranked(body, request, "1")

    @app.post("/v2/rerank", responses=_ERRORS, openapi_extra=_example(_RERANK_EXAMPLE))
    async def rerank(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v2 API does, best first."""
        return await ranked(body, request, "2")

    @app.get("/v1/models", responses={503: _ERRORS[503]})
    async def models() -> Response:
        """The served model, listed as OpenAI-shaped APIs do."""
        return _json(
            {"object": "list", "data": [{"id": await service.model(), "object": "model", "owned_by": "csrm"}]}
        )

    @app.get("/healthz")
    async def healthz() -> Response:
        """The process answers; it may not be ready yet."""
        return _json({"status": "ok"})

    @app.get("/readyz", responses={503: _ERRORS[503]})
    async def readyz() -> Response:
        """Ready when a scorer has scored a query; a retriever that is not ready costs no answers."""
        readiness = await service.readiness()
        parts = {"scorer": readiness.scorer.as_json(), "retriever": readiness.retriever.as_json()}
        if readiness.ready:
            return _json({"status": "ready", **parts})
        refusal = status.error_response(
            NotReadyError(readiness.scorer.reason or "No scorer is up yet: ask again.")
        )
        body = {**orjson.loads(refusal.body), **parts}
        return _json(body, refusal.status_code, {"Retry-After": refusal.headers["Retry-After"]})

    return app


def _json(body: dict[str, Any], status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response without building the response's model a second time."""
    return Response(orjson.dumps(body), status_code, headers, "application/json")


def _example(body: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"example": body}}}}
