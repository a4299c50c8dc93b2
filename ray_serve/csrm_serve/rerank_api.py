"""The rerank APIs of other servers, so that their clients can be pointed at this one.

    POST /v1/rerank, /v2/rerank   Cohere; Jina and vLLM on /v1/rerank
    POST /rerank                  text-embeddings-inference where ``texts`` are sent, else Jina and vLLM
    POST /score, /v1/score        vLLM

Their shapes are in `cohere`, `tei` and `vllm`. Knows HTTP and `Models`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import Discriminator, Tag

from csrm.errors import DeadlineExceededError
from csrm_serve import openapi
from csrm_serve.answers import Rank, RerankAnswer, ScoreAnswer
from csrm_serve.body_limit import ARRIVED
from csrm_serve.cohere import JinaRerankRequest, RerankRequest, rerank_response
from csrm_serve.many import in_turn
from csrm_serve.messages import Knowledge, Scored
from csrm_serve.models import Models
from csrm_serve.openapi import answers, json_response
from csrm_serve.service import Answer
from csrm_serve.shapes import ImitatedRequest, scores, with_text
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


def add_routes(app: FastAPI, models: Models) -> None:
    """Answer the paths of the other servers."""

    async def judged(
        query: str, texts: Sequence[str], body: ImitatedRequest, request: Request, draw: str | None = None
    ) -> Answer:
        """The judgments of the texts that are not blank."""
        worth_it = [texts[place] for place in with_text(texts)]
        if not worth_it:
            return Answer(Scored(await models.name(body.model, draw or query), 0.0, [], {}), Knowledge(), {})
        return await models.judge(
            query,
            worth_it,
            model=body.model,
            draw=draw,
            locale=body.locale,
            level=body.level,
            deadline_ms=body.deadline_ms,
            partial=body.partial,
            arrived=request.scope["state"][ARRIVED],
        )

    async def ranked(body: RerankRequest, request: Request, version: str) -> Response:
        answer = await judged(body.query, body.documents, body, request)
        return json_response(rerank_response(body, answer, version=version))

    @app.post(
        "/v1/rerank",
        summary="Rank documents (Cohere v1)",
        responses=answers(RerankAnswer),
        openapi_extra=openapi.COHERE_1,
    )
    async def rerank_v1(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v1 API does, best first; Jina's and vLLM's clients read it too."""
        return await ranked(body, request, "1")

    @app.post(
        "/v2/rerank",
        summary="Rank documents (Cohere v2)",
        responses=answers(RerankAnswer),
        openapi_extra=openapi.COHERE_2,
    )
    async def rerank_v2(body: RerankRequest, request: Request) -> Response:
        """Rank documents as Cohere's v2 API does, best first."""
        return await ranked(body, request, "2")

    @app.post(
        "/rerank",
        summary="Rank texts (TEI, Jina, vLLM)",
        responses=answers(RerankAnswer | list[Rank]),
        openapi_extra=openapi.RERANK,
    )
    async def rerank(body: RerankBody, request: Request) -> Response:
        """Rank ``texts`` as text-embeddings-inference does, or ``documents`` as Jina and vLLM do."""
        if isinstance(body, TeiRerankRequest):
            return json_response(ranks(body, await judged(body.query, body.texts, body, request)))
        return await ranked(body, request, "1")

    @app.post(
        "/score",
        summary="Score pairs (vLLM)",
        responses=answers(ScoreAnswer),
        openapi_extra=openapi.SCORE,
    )
    @app.post(
        "/v1/score",
        summary="Score pairs (vLLM, v1)",
        responses=answers(ScoreAnswer),
        openapi_extra=openapi.SCORE,
    )
    async def score(body: ScoreRequest, request: Request) -> Response:
        """Score pairs as vLLM does, in their order; one model scores all of them."""
        asked: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(body.pairs()):
            asked.setdefault(query, []).append(place)
        draw = next(iter(asked))

        async def one(query: str) -> Answer | DeadlineExceededError:
            texts = [body.text_2[place] for place in asked[query]]
            try:
                return await judged(query, texts, body, request, draw)
            except DeadlineExceededError as late:
                if not body.partial:
                    raise
                return late

        found: list[float | None] = [None] * len(body.text_2)
        judged_or_late = await in_turn(one, asked)
        judging = [answer for answer in judged_or_late if isinstance(answer, Answer)]
        if not judging:
            raise next(late for late in judged_or_late if isinstance(late, DeadlineExceededError))
        for places, answer in zip(asked.values(), judged_or_late, strict=True):
            if isinstance(answer, Answer):
                texts = [body.text_2[place] for place in places]
                for place, value in zip(places, scores(texts, answer), strict=True):
                    found[place] = value
        return json_response(score_response(judging[0].scored.model, found))
