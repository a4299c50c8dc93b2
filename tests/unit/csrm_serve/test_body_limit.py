"""How much may be under way at once: bytes of bodies and requests, each given back when the request ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from csrm_serve.api import create_api
from csrm_serve.models import Models

from .conftest import MakeClient

BODY = json.dumps({"query": "shoes", "products": ["red shoes", "kettle"]}).encode()
HEADERS = {"Content-Type": "application/json"}
FIRST = 10


@pytest.mark.parametrize(
    "room", [{"max_bytes_under_way": FIRST + len(BODY) - 1}, {"max_requests_under_way": 1}]
)
async def test_what_is_too_much_beside_another_is_refused_and_let_in_after_it(
    models: Models, room: dict[str, int]
) -> None:
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield BODY[:FIRST]
        under_way.set()  # its first bytes are read
        await go_on.wait()
        yield BODY[FIRST:]

    transport = httpx.ASGITransport(create_api(models, **room))
    async with httpx.AsyncClient(transport=transport, base_url="http://csrm") as http:
        first = asyncio.create_task(http.post("/v1/relevance", content=slowly(), headers=HEADERS))
        await under_way.wait()
        refused = await http.post("/v1/relevance", content=BODY, headers=HEADERS)
        probe = await http.get("/healthz")
        go_on.set()
        answers = [await first, await http.post("/v1/relevance", content=BODY, headers=HEADERS)]
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert probe.status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_body_that_does_not_say_its_length_is_refused_when_it_gets_there(make_client: MakeClient) -> None:
    with make_client(max_body_bytes=2_000, max_bytes_under_way=200) as client:
        streamed = client.post("/v1/relevance", content=iter([b"x" * 100] * 3), headers=HEADERS)
        declared = client.post("/v1/relevance", content=b"x" * 201, headers=HEADERS)
        fits = client.post("/v1/relevance", content=BODY, headers=HEADERS)
    for refused in (streamed, declared):
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "overloaded")
    assert fits.status_code == 200
