"""The OpenAPI document and docs/serving.md: what they say is what is answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from csrm.wire import MAX_BODY_BYTES, MAX_PRODUCT_CHARS, MAX_PRODUCTS, MAX_QUERY_CHARS
from csrm_serve.many import MAX_REQUESTS
from csrm_serve.status import TABLE

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


def test_the_docs_have_the_limits() -> None:
    for limit in (MAX_QUERY_CHARS, MAX_PRODUCTS, MAX_PRODUCT_CHARS, MAX_REQUESTS):
        assert f"| {limit:,} |" in DOCS
    assert f"| {MAX_BODY_BYTES // 2**20} MiB |" in DOCS
