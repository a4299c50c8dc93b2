"""Keys and what one caller may ask at once: 401, 429, and nobody else's business."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from csrm_serve.access import Keys, read_keys
from csrm_serve.api import create_api
from csrm_serve.errors import StartError
from csrm_serve.models import Models
from csrm_serve.settings import ServeSettings

from .conftest import WordModel

GOOD = {"query": "shoes", "products": ["shoes"]}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "keys"
    file.write_text("# the shop\nshop-key\n\n  partner-key  \n", encoding="utf-8")
    return read_keys(file)


def caller(models: Models, keys: Keys, key: str | None, most: int | None = None) -> httpx.AsyncClient:
    api = create_api(models, keys=keys, max_requests_per_key=most)
    headers = {} if key is None else {"Authorization": key}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://csrm", headers=headers)


@pytest.mark.parametrize("key", ["Bearer shop-key", "bearer partner-key"])
async def test_a_known_key_is_let_in(models: Models, keys: Keys, key: str) -> None:
    async with caller(models, keys, key) as client:
        assert (await client.post("/v1/relevance", json=GOOD)).status_code == 200
        assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "key",
    [None, "", "Bearer", "Bearer ", "Bearer shop-key2", "shop-key", "Basic shop-key", "Bearer # the shop"],
)
@pytest.mark.parametrize("path", ["/v1/relevance", "/v2/rerank", "/rerank", "/score", "/v1/models", "/x"])
async def test_any_other_is_not(models: Models, keys: Keys, key: str | None, path: str) -> None:
    async with caller(models, keys, key) as client:
        answer = await client.post(path, content=b"never read")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "unknown_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
async def test_probes_bring_no_key(models: Models, keys: Keys, path: str) -> None:
    async with caller(models, keys, None) as client:
        assert (await client.get(path)).status_code == 200


async def test_one_key_may_have_so_many_requests_under_way_and_others_are_served(
    models: Models, keys: Keys, model: WordModel
) -> None:
    model.seconds_each = 0.2
    api = create_api(models, keys=keys, max_requests_per_key=2)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://csrm") as client:

        def ask(key: str) -> asyncio.Task[httpx.Response]:
            headers = {"Authorization": f"Bearer {key}"}
            return asyncio.create_task(client.post("/v1/relevance", json=GOOD, headers=headers))

        first, second = ask("shop-key"), ask("shop-key")
        await asyncio.sleep(0.05)
        third = await ask("shop-key")
        other = ask("partner-key")
        assert third.status_code == 429
        assert third.json()["error"]["type"] == "too_many_requests"
        assert third.headers["retry-after"] == "1"
        assert [(await one).status_code for one in (first, second, other)] == [200, 200, 200]
        assert (await ask("shop-key")).status_code == 200


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(StartError, match="holds no API key"):
        read_keys(file)
    with pytest.raises(StartError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_a_limit_without_keys_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_requests_per_key needs api_keys"):
        ServeSettings(max_requests_per_key=3)
