"""Every kind of bad request: the status, the one shape of body, and a reason that names the field."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csrm.errors import BundleError, InputError, OutOfMemoryError
from csrm.wire import MAX_QUERY_CHARS, ErrorResponse
from csrm_serve.errors import NotReadyError, OverloadedError

from .conftest import MakeClient, QueueScorer

GOOD = {"query": "shoes", "products": ["red shoes", "kettle"]}

BAD_FIELDS = [
    ({"query": ""}, "query: empty."),
    ({"query": " \t\n"}, "query: empty."),
    ({"query": "x" * 10_000}, "query: 10,000 characters, at most 2,000 are allowed."),
    ({"query": None}, "query: not a string."),
    ({"query": 7}, "query: not a string."),
    ({"products": []}, "products: empty, at least one is needed."),
    ({"products": ["a", "b", "c", " "]}, "products[3]: empty."),
    ({"products": ["a", None]}, "products[1]: not a string."),
    ({"products": ["a"] * 1_001}, "products: 1,001 items, at most 1,000 are allowed."),
    ({"products": ["x" * 20_001]}, "products[0]: 20,001 characters, at most 20,000 are allowed."),
    ({"products": "a"}, "products: input should be a valid list."),
    ({"products": [""] * 5}, "products[0]: empty; products[1]: empty; products[2]: empty; and 2 more."),
    ({"locale": "korean please"}, "locale: not a language tag such as ko or zh-TW."),
    ({"threshold": 1.5}, "threshold: input should be less than or equal to 1."),
    ({"threshold": float("nan")}, "threshold: input should be"),
    ({"threshold": True}, "threshold: input should be a valid number."),
    ({"deadline_ms": 0}, "deadline_ms: input should be greater than 0."),
    ({"deadline_ms": True}, "deadline_ms: input should be a valid number."),
    ({"deadline_ms": "500"}, "deadline_ms: input should be a valid number."),
    ({"deadline_ms": float("inf")}, "deadline_ms: input should be a finite number."),
    ({"deadline_ms": float("nan")}, "deadline_ms: input should be a"),
    ({"level": "deep"}, "level: input should be 'fast', 'balanced' or 'full'."),
    ({"partial": "some"}, "partial: input should be a valid boolean"),
    ({"quary": "shoes"}, "quary: unknown field."),
]


@pytest.mark.parametrize(("fields", "reason"), BAD_FIELDS)
def test_a_wrong_field_is_named(client: TestClient, fields: dict[str, object], reason: str) -> None:
    answer = client.post(
        "/v1/relevance", content=json.dumps({**GOOD, **fields}), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    error = ErrorResponse.model_validate_json(answer.content).error
    assert error.type == "invalid_request"
    assert error.reason.startswith(reason)


@pytest.mark.parametrize("missing", ["query", "products"])
def test_a_missing_field_is_named(client: TestClient, missing: str) -> None:
    answer = client.post("/v1/relevance", json={key: GOOD[key] for key in GOOD if key != missing})
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == f"{missing}: required."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"query": "caf\xe9", "products": ["a"]}', "The body is not UTF-8: encode it so."),
        (json.dumps(GOOD).encode("utf-16"), "The body is not UTF-8: encode it so."),
        (json.dumps(GOOD).encode("utf-16-le"), "The body is not JSON ("),
        (json.dumps(GOOD).encode("utf-32"), "The body is not UTF-8: encode it so."),
        (b'{"query": "a", "query": "b", "products": ["c"]}', "The body is not JSON (an object has a key"),
        (b'{"query": "shoes", ', "The body is not JSON ("),
        (b"", "The body is not a JSON object"),
        (b"[]", "The body is not a JSON object"),
        (b'"shoes"', "The body is not a JSON object"),
        (b"[" * 100_000, "The body cannot be read"),
    ],
)
def test_what_is_no_json_object_in_utf8_is_refused(client: TestClient, body: bytes, reason: str) -> None:
    answer = client.post("/v1/relevance", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"].startswith(reason)


def test_a_byte_order_mark_is_passed_over(client: TestClient) -> None:
    body = json.dumps(GOOD).encode("utf-8-sig")
    answer = client.post("/v1/relevance", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


def test_a_half_surrogate_is_refused(client: TestClient) -> None:
    answer = client.post(
        "/v1/relevance",
        content=b'{"query": "a\\ud800", "products": ["a"]}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == "query: not valid Unicode."


def test_a_form_is_told_to_come_as_json(client: TestClient) -> None:
    answer = client.post("/v1/relevance", data={"query": "shoes"})
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["reason"]


def test_a_declared_body_over_the_limit_is_refused_unread(make_client: MakeClient) -> None:
    read = []

    def body() -> Iterator[bytes]:
        for _ in range(8):
            read.append(1)
            yield b"x" * 1_000

    with make_client(max_body_bytes=2_000) as client:
        answer = client.post("/v1/relevance", content=b"x" * 2_001)
        streamed = client.post("/v1/relevance", content=body())
        fits = client.post("/v1/relevance", json=GOOD)
    for refused in (answer, streamed):
        assert refused.status_code == 413
        assert refused.json()["error"]["type"] == "body_too_large"
        assert "2,000 bytes" in refused.json()["error"]["reason"]
    assert fits.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/relevance", 405, "method_not_allowed"),
        ("POST", "/readyz", 405, "method_not_allowed"),
    ],
)
def test_the_routers_own_errors_have_the_same_shape(
    client: TestClient, method: str, path: str, status: int, kind: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert ErrorResponse.model_validate_json(answer.content).error.type == kind
    assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize(
    ("failure", "status", "kind", "retry_after"),
    [
        (OverloadedError("Too many requests wait."), 503, "overloaded", "1"),
        (NotReadyError("The scorer is starting."), 503, "not_ready", "5"),
        (OutOfMemoryError("Not enough memory."), 503, "out_of_memory", "5"),
        (InputError("products[0]: nothing but control characters."), 422, "invalid_request", None),
        (BundleError("The adapter is broken."), 500, "model_error", None),
    ],
)
def test_the_scorers_errors_have_a_status(
    client: TestClient,
    scorer: QueueScorer,
    failure: Exception,
    status: int,
    kind: str,
    retry_after: str | None,
) -> None:
    scorer.failure = failure
    answer = client.post("/v1/relevance", json=GOOD)
    assert answer.status_code == status
    assert answer.json() == {"error": {"type": kind, "reason": str(failure)}, "detail": str(failure)}
    assert answer.headers.get("retry-after") == retry_after


def test_a_defect_is_answered_without_its_details(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = ZeroDivisionError("secret")
    answer = client.post("/v1/relevance", json=GOOD)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "internal_error"
    assert "secret" not in answer.text


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)  # the service keeps nothing of a request
@given(body=st.binary(max_size=200))
def test_no_body_whatever_makes_the_service_fail(client: TestClient, body: bytes) -> None:
    for path in ("/v1/relevance", "/v2/rerank"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        ErrorResponse.model_validate_json(answer.content)


def test_the_limit_in_the_message_is_the_limit_that_holds(client: TestClient) -> None:
    assert client.post("/v1/relevance", json={**GOOD, "query": "x" * MAX_QUERY_CHARS}).status_code == 200
