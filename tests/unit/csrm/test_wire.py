"""The wire contract: what it refuses, what it keeps, and that nobody changes a field by accident."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from csrm import wire
from csrm.wire import ErrorResponse, GradeProbabilities, Judgment, RelevanceRequest, RelevanceResponse

GRADES = GradeProbabilities(E=0.7, S=0.2, C=0.06, I=0.04)
TEXTS = st.text(min_size=1, max_size=50).filter(str.strip)


def request(**fields: Any) -> RelevanceRequest:
    return RelevanceRequest.model_validate(
        {"query": "에어팟 케이스", "products": ["AirPods Pro 2 케이스"], **fields}
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query", ""),
        ("query", " \u3000\t"),
        ("query", "x" * (wire.MAX_QUERY_CHARS + 1)),
        ("query", None),
        ("products", []),
        ("products", ["x"] * (wire.MAX_PRODUCTS + 1)),
        ("products", ["ok", " "]),
        ("products", ["x" * (wire.MAX_PRODUCT_CHARS + 1)]),
        ("products", "one text"),
        ("locale", ""),
        ("locale", "zh_TW"),
        ("locale", "x" * 40),
        ("threshold", -0.01),
        ("threshold", 1.01),
        ("threshold", float("nan")),
        ("deadline_ms", 0),
        ("thresold", 0.5),
    ],
)
def test_bad_input_is_refused_and_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        request(**{field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


@given(
    query=TEXTS,
    products=st.lists(TEXTS, min_size=1, max_size=5),
    locale=st.sampled_from([None, "en", "es", "ko", "ja", "zh-TW", "zh-Hant-TW"]),
    threshold=st.none() | st.floats(0, 1),
    deadline_ms=st.none() | st.floats(1, 1e6),
    explain=st.booleans(),
)
def test_a_request_survives_the_wire(**fields: Any) -> None:
    sent = RelevanceRequest(**fields)
    assert RelevanceRequest.model_validate_json(sent.model_dump_json()) == sent
    assert len(sent.products) == len(fields["products"])


def test_the_largest_request_is_taken() -> None:
    biggest = request(query="あ" * wire.MAX_QUERY_CHARS, products=["x"] * wire.MAX_PRODUCTS)
    assert len(biggest.products) == wire.MAX_PRODUCTS


def test_a_response_survives_the_wire() -> None:
    judgment = Judgment(index=0, grades=GRADES, score=0.8, irrelevance=0.1, decision="keep")
    sent = RelevanceResponse(
        model="m@1",
        locale="ko",
        threshold=0.6,
        knowledge_version="k",
        results=[judgment],
        timings_ms={"prefix": 1.5},
    )
    assert RelevanceResponse.model_validate_json(sent.model_dump_json()) == sent


def test_fields_of_the_wire_are_pinned() -> None:
    """A field may be added here together with the wire; none may go or change its name."""
    assert list(RelevanceRequest.model_fields) == [
        "query",
        "products",
        "model",
        "locale",
        "threshold",
        "deadline_ms",
        "level",
        "partial",
        "explain",
    ]
    assert list(RelevanceResponse.model_fields) == [
        "model",
        "locale",
        "threshold",
        "knowledge_version",
        "results",
        "level",
        "scored",
        "all_layers",
        "knowledge",
        "timings_ms",
    ]
    assert list(Judgment.model_fields) == ["index", "grades", "score", "irrelevance", "decision"]
    assert ErrorResponse.model_validate({"error": {"type": "t", "reason": "r"}}).error.reason == "r"


def test_a_message_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(ValidationError):
        request().query = "other"  # type: ignore[misc]
