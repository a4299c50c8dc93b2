"""The rerank APIs of other servers, so that their clients can be pointed at this one.

    POST /v1/rerank, /v2/rerank   Cohere; Jina and vLLM on /v1/rerank
    POST /rerank                  text-embeddings-inference where ``texts`` are sent, else Jina and vLLM
    POST /score, /v1/score        vLLM

Their shapes are in `cohere`, `tei` and `vllm`. Knows HTTP and `RelevanceService`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import Discriminator, Tag

from csrm_serve import openapi
from csrm_serve.body_limit import ARRIVED
from csrm_serve.cohere import JinaRerankRequest, RerankRequest, rerank_response
from csrm_serve.many import in_turn
from csrm_serve.messages import Knowledge, Scored
from csrm_serve.openapi import RERANK_ERRORS, json_response
from csrm_serve.service import Answer, RelevanceService
from csrm_serve.shapes import ImitatedRequest, check_model, scores, with_text
from csrm_serve.tei import TeiRerankRequest, ranks
from csrm_serve.vllm import ScoreRequest, score_response


def _whose(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    return "(tei)" if "texts" in body else "(jina)"


RerankBody = Annotated[
    Annotated[TeiRerankRequest, Tag("(tei)")] | Annotated[JinaRerankRequest, Tag("(jina)")],
    Discriminator(_whose),
]


def add_routes(app: FastAPI, service: RelevanceService) -> None:
    """Answer the paths of the other servers."""

    async def judged(query: str, texts: Sequence[str], body: ImitatedRequest, request: Request) -> Answer:
        """The judgments of the texts that are not blank."""
        worth_it = [texts[place] for place in with_text(texts)]
        if not worth_it:
            return Answer(Scored(await service.model(), 0.0, [], {}), Knowledge(), {})
        arrived = request.scope["state"][ARRIVED]
        return await service.judge(
            query,
            worth_it,
            locale=body.locale,
            level=body.level,
            deadline_ms=body.deadline_ms,
            arrived=arrived,
        )

    async def check(body: ImitatedRequest) -> None:
        if body.model is not None:
            check_model(body.model, await service.model())

    async def ranked(body: RerankRequest, request: Request, version: str) -> Response:
        await check(body)
        answer = await judged(body.query, body.documents, body, request)
        return json_response(rerank_response(body, answer, version=version))

    @app.post("/v1/rerank", responses=RERANK_ERRORS, openapi_extra=openapi.COHERE)
    async def rerank_v1(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v1 API does, best first; Jina's and vLLM's clients read it too."""
        return await ranked(body, request, "1")

    @app.post("/v2/rerank", responses=RERANK_ERRORS, openapi_extra=openapi.COHERE)
    async def rerank_v2(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v2 API does, best first."""
        return await ranked(body, request, "2")

    @app.post("/rerank", responses=RERANK_ERRORS, openapi_extra=openapi.RERANK)
    async def rerank(body: RerankBody, request: Request) -> Response:
        """Rank ``texts`` as text-embeddings-inference does, or ``documents`` as Jina and vLLM do."""
        if isinstance(body, TeiRerankRequest):
            await check(body)
            return json_response(ranks(body, await judged(body.query, body.texts, body, request)))
        return await ranked(body, request, "1")

    @app.post("/score", responses=RERANK_ERRORS, openapi_extra=openapi.SCORE)
    @app.post("/v1/score", responses=RERANK_ERRORS, openapi_extra=openapi.SCORE)
    async def score(body: ScoreRequest, request: Request) -> Response:
        """Score pairs as vLLM does, in their order."""
        await check(body)
        asked: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(body.pairs()):
            asked.setdefault(query, []).append(place)

        async def one(query: str) -> list[float]:
            texts = [body.text_2[place] for place in asked[query]]
            return scores(texts, await judged(query, texts, body, request))

        found = [0.0] * len(body.text_2)
        for places, values in zip(asked.values(), await in_turn(one, asked), strict=True):
            for place, value in zip(places, values, strict=True):
                found[place] = value
        return json_response(score_response(await service.model(), found))
