"""The OpenAPI document and docs/serving.md: what they say is what is answered."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from csrm.wire import (
    MAX_BODY_BYTES,
    MAX_PRODUCT_CHARS,
    MAX_PRODUCTS,
    MAX_QUERY_CHARS,
    RelevanceResponse,
)
from csrm_serve import metrics
from csrm_serve.answers import Alive, ModelList, NotReady, Rank, Ready, RerankAnswer, ScoreAnswer
from csrm_serve.body_limit import MAX_BYTES_UNDER_WAY, MAX_REQUESTS_UNDER_WAY
from csrm_serve.errors import NotReadyError
from csrm_serve.many import MAX_REQUESTS, RelevanceBatchResponse
from csrm_serve.settings import ServeSettings
from csrm_serve.status import TABLE

from .conftest import QueueScorer

DOCS = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
POSTED = ["/v1/relevance", "/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score"]


def test_every_path_is_described_and_in_the_docs(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {*POSTED, "/v1/models", "/healthz", "/readyz"}
    for path in paths:
        assert f"`{path}`" in DOCS, path


@pytest.mark.parametrize("path", POSTED)
def test_every_example_is_answered(client: TestClient, path: str) -> None:
    post = client.get("/openapi.json").json()["paths"][path]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    assert examples
    for example in examples.values():
        answer = client.post(path, json=example["value"])
        assert answer.status_code == 200, answer.text
        for part in answer.json()["responses"] if "requests" in example["value"] else []:
            assert part["status"] == 200, part


ANSWERS: dict[str, Any] = {
    "/v1/relevance": RelevanceResponse | RelevanceBatchResponse,
    "/v1/rerank": RerankAnswer,
    "/v2/rerank": RerankAnswer,
    "/rerank": RerankAnswer | list[Rank],
    "/score": ScoreAnswer,
    "/v1/score": ScoreAnswer,
    "/v1/models": ModelList,
    "/healthz": Alive,
    "/readyz": Ready,
}


def keys(value: object) -> object:
    """The fields of a JSON value, however deep, and nothing of what they hold; FastAPI leaves nulls out of examples."""
    if isinstance(value, dict):
        return {name: keys(part) for name, part in value.items() if part is not None}
    return [keys(part) for part in value] if isinstance(value, list) else None


@pytest.mark.parametrize("path", POSTED)
def test_every_example_of_an_answer_has_the_fields_that_are_answered(client: TestClient, path: str) -> None:
    post = client.get("/openapi.json").json()["paths"][path]["post"]
    asked = post["requestBody"]["content"]["application/json"]["examples"]
    told = post["responses"]["200"]["content"]["application/json"]["examples"]
    assert set(told) == set(asked)
    described = TypeAdapter(ANSWERS[path])
    for name, example in asked.items():
        answer = client.post(path, json=example["value"]).json()
        described.validate_python(answer)
        described.validate_python(told[name]["value"])
        if name != "several queries":  # one of them explains itself
            assert keys(answer) == keys(told[name]["value"]), name


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_is_described(client: TestClient, path: str) -> None:
    (operation,) = client.get("/openapi.json").json()["paths"][path].values()
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    names = re.findall(r"schemas/(\w+)", str(schema))
    assert names and all(name in str(ANSWERS[path]) for name in names)
    assert not operation["operationId"].startswith(operation["summary"].lower().replace(" ", "_"))


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/readyz"])
def test_what_is_asked_without_a_body_is_answered_as_described(client: TestClient, path: str) -> None:
    TypeAdapter(ANSWERS[path]).validate_python(client.get(path).json())


def test_why_it_is_not_ready_is_answered_as_described(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = NotReadyError("The scorer is starting.")
    NotReady.model_validate_json(client.get("/readyz").content)


@pytest.mark.parametrize("path", POSTED)
def test_every_error_is_described_in_its_one_shape(client: TestClient, path: str) -> None:
    responses = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    assert {"400", "401", "413", "422", "429", "503", "504"} <= set(responses)
    for status, described in responses.items():
        if status != "200":
            schema = described["content"]["application/json"]["schema"]
            assert schema["$ref"].endswith("ErrorResponse")


def test_the_docs_have_the_error_table() -> None:
    told = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", DOCS, re.MULTILINE)
    assert [(int(status), kind) for status, kind in told if kind != "internal_error"] == [
        (int(row.status), row.type) for row in TABLE
    ]


def test_the_docs_have_the_metrics() -> None:
    source = inspect.getsource(metrics)
    made = re.findall(r'"(csrm_\w+)"', source)
    assert len(made) >= 5
    for name in made:
        assert f"`ray_{name}" in DOCS, name


def test_the_docs_have_the_limits() -> None:
    assert f"| {MAX_REQUESTS_UNDER_WAY:,} |" in DOCS
    assert f"| {MAX_BYTES_UNDER_WAY // 2**20} MiB |" in DOCS
    assert ServeSettings().max_body_mb * 2**20 == MAX_BODY_BYTES
    assert ServeSettings().max_bodies_mb * 2**20 == MAX_BYTES_UNDER_WAY
    for limit in (MAX_QUERY_CHARS, MAX_PRODUCTS, MAX_PRODUCT_CHARS, MAX_REQUESTS):
        assert f"| {limit:,} |" in DOCS
    assert f"| {MAX_BODY_BYTES // 2**20} MiB |" in DOCS
