"""The HTTP API of the relevance service: our own routes, and what is around all of them.

    POST /v1/relevance   grades, score, irrelevance and decision of every product, for one query or several
    GET  /v1/models      what is served
    GET  /healthz        the process answers
    GET  /readyz         a query would be answered now, or why not

The rerank APIs of others are in `csrm_serve.rerank_api`. Knows HTTP and `Models`; knows no Ray. Errors are
answered by `csrm_serve.status`.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from pydantic import Discriminator, Tag

from csrm.wire import MAX_BODY_BYTES, RelevanceRequest, RelevanceResponse
from csrm_serve import openapi, rerank_api, status
from csrm_serve.access import Access, Keys
from csrm_serve.answers import Alive, ModelList, NotReady, Ready
from csrm_serve.body_limit import ARRIVED, MAX_BYTES_UNDER_WAY, MAX_REQUESTS_UNDER_WAY, BodyLimit
from csrm_serve.errors import NotReadyError
from csrm_serve.many import RelevanceBatch, RelevanceBatchResponse, answer_each
from csrm_serve.models import Models
from csrm_serve.openapi import answers, json_response
from csrm_serve.strict_json import StrictRoute


def _one_or_many(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    return "(many)" if "requests" in body else "(one)"


RelevanceBody = Annotated[
    Annotated[RelevanceRequest, Tag("(one)")] | Annotated[RelevanceBatch, Tag("(many)")],
    Discriminator(_one_or_many),
]


def create_api(
    models: Models,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_bytes_under_way: int = MAX_BYTES_UNDER_WAY,
    max_requests_under_way: int = MAX_REQUESTS_UNDER_WAY,
    keys: Keys | None = None,
    max_requests_per_key: int | None = None,
) -> FastAPI:
    """The ASGI application.

    Args:
        models: answer the requests.
        max_body_bytes: largest body that is read.
        max_bytes_under_way: of all bodies; a request beyond that is refused.
        max_requests_under_way: most requests at once; one more is refused.
        keys: those that callers must bring; None lets everybody ask.
        max_requests_per_key: most requests that one key may have under way; any number if None.
    """
    app = FastAPI(
        title="CSRM relevance service",
        version=version("csrm-opensearch"),
        summary="Judges how well products answer a shopper's query.",
    )
    app.router.route_class = StrictRoute
    started = int(time.time())
    status.install(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=max_body_bytes,
        max_bytes_under_way=max_bytes_under_way,
        max_requests_under_way=max_requests_under_way,
    )
    if keys is not None:
        app.add_middleware(Access, keys=keys, most=max_requests_per_key)
    rerank_api.add_routes(app, models)

    async def judged(body: RelevanceRequest, arrived: float) -> dict[str, Any]:
        answer = await models.judge(
            body.query,
            body.products,
            model=body.model,
            locale=body.locale,
            threshold=body.threshold,
            level=body.level,
            deadline_ms=body.deadline_ms,
            partial=body.partial,
            arrived=arrived,
        )
        return {
            "model": answer.scored.model,
            "locale": body.locale,
            "threshold": answer.scored.threshold,
            "knowledge_version": answer.knowledge.version,
            "results": answer.scored.results,
            "level": answer.scored.level,
            "scored": len(answer.scored.results),
            "all_layers": answer.scored.all_layers,
            "knowledge": answer.knowledge.entries if body.explain else None,
            "timings_ms": answer.timings_ms if body.explain else None,
        }

    @app.post(
        "/v1/relevance",
        summary="Judge products",
        responses=answers(RelevanceResponse | RelevanceBatchResponse),
        openapi_extra=openapi.RELEVANCE,
    )
    async def relevance(body: RelevanceBody, request: Request) -> Response:
        """Judge every product; results come in the order of the request."""
        arrived: float = request.scope["state"][ARRIVED]
        if isinstance(body, RelevanceBatch):
            return json_response(await answer_each(body, lambda one: judged(one, arrived)))
        return json_response(await judged(body, arrived))

    @app.get(
        "/v1/models",
        summary="List the models",
        responses={200: {"model": ModelList}, **openapi.errors(401, 429, 503)},
        openapi_extra=openapi.MODELS,
    )
    async def listed() -> Response:
        """The served models, listed as OpenAI-shaped APIs do; the first answers where none is named."""
        data = [
            {"id": name, "object": "model", "created": started, "owned_by": "csrm"}
            for name in await models.names()
        ]
        return json_response({"object": "list", "data": data})

    @app.get("/healthz", summary="Is the process there?", responses={200: {"model": Alive}})
    async def healthz() -> Response:
        """The process answers; it may not be ready yet."""
        return json_response({"status": "ok"})

    @app.get(
        "/readyz",
        summary="Would a query be answered?",
        responses={200: {"model": Ready}, 503: {"model": NotReady, "description": "No scorer is ready."}},
        openapi_extra=openapi.READY,
    )
    async def readyz() -> Response:
        """Ready when a scorer of the first model has scored a query; whatever else is not ready costs no answers."""
        (_, first), *others = (await models.readiness()).items()
        parts: dict[str, Any] = first.as_json()
        if others:
            parts["also"] = {bundle: readiness.as_json() for bundle, readiness in others}
        if first.ready:
            return json_response({"status": "ready", **parts})
        told = status.refusal(NotReadyError(first.scorer.reason or "No scorer is up yet: ask again."))
        return json_response({**told.as_json(), **parts}, told.status, told.headers)

    return app
