"""POST /v1/relevance with several queries: each its own status, in their order, and few at work at once."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi.testclient import TestClient

from csrm_serve.errors import OverloadedError
from csrm_serve.many import AT_ONCE, MAX_REQUESTS, RelevanceBatchResponse, in_turn

from .conftest import QueueScorer, WordModel

GOOD = {"query": "red shoes", "products": ["red shoes", "kettle"]}


def ask(client: TestClient, requests: list[object]) -> list[dict[str, object]]:
    body = json.dumps({"requests": requests})
    answer = client.post("/v1/relevance", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    RelevanceBatchResponse.model_validate_json(answer.content)
    responses: list[dict[str, object]] = answer.json()["responses"]
    return responses


def test_every_query_is_answered_as_it_is_alone(client: TestClient) -> None:
    requests = [GOOD, {**GOOD, "query": "kettle", "locale": "ko", "explain": True}]
    together = ask(client, requests)
    for request, answer in zip(requests, together, strict=True):
        alone = client.post("/v1/relevance", json=request).json()
        assert answer["status"] == 200
        assert answer["results"] == alone["results"]
        assert answer["threshold"] == alone["threshold"]
        assert answer["knowledge"] == alone["knowledge"]


def test_what_is_wrong_with_one_is_told_there_and_costs_the_others_nothing(client: TestClient) -> None:
    wrong = [
        {"query": "", "products": ["a"]},
        7,
        {**GOOD, "quary": 1},
        {"products": ["a"], "query": "\ud800"},
    ]
    responses = ask(client, [GOOD, *wrong, {**GOOD, "deadline_ms": 0.001}, GOOD])
    assert [one["status"] for one in responses] == [200, 422, 422, 422, 422, 504, 200]
    reasons = [one["error"]["reason"] for one in responses[1:5]]
    assert reasons == [
        "requests[1].query: empty.",
        "requests[2]: not a JSON object.",
        "requests[3].quary: unknown field.",
        "requests[4].query: not valid Unicode.",
    ]
    assert responses[5]["error"]["type"] == "deadline_exceeded"


def test_a_full_queue_is_the_status_of_each(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = OverloadedError("Too many requests wait.")
    assert [one["status"] for one in ask(client, [GOOD, GOOD])] == [503, 503]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"requests": []}, "requests: empty, at least one is needed."),
        ({"requests": [GOOD] * (MAX_REQUESTS + 1)}, "requests: 65 items, at most 64 are allowed."),
        ({"requests": GOOD}, "requests: input should be a valid list."),
        ({"requests": [GOOD], "query": "a"}, "query: unknown field."),
    ],
)
def test_a_wrong_list_is_refused_whole(client: TestClient, body: object, reason: str) -> None:
    answer = client.post("/v1/relevance", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == reason


async def test_few_are_at_work_at_once_and_a_failure_ends_the_rest() -> None:
    at_work, most, begun = 0, 0, []

    async def work(number: int) -> int:
        nonlocal at_work, most
        begun.append(number)
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        if number == 13:
            raise OverloadedError("Full.")
        return number * 2

    assert await in_turn(work, range(12)) == [number * 2 for number in range(12)]
    assert most == AT_ONCE
    begun.clear()
    with pytest.raises(OverloadedError):
        await in_turn(work, range(13, 100))
    await asyncio.sleep(0.05)
    assert len(begun) <= 2 * AT_ONCE


def test_one_wrong_query_is_not_judged(client: TestClient, model: WordModel) -> None:
    ask(client, [{"query": "a", "products": []}, GOOD])
    assert model.judged == ["red shoes"]
