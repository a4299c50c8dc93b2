"""Sides of an A/B test: stable, fair, and independent of other tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.traffic import variant_of, visitor_of


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_those_who_were_in(test: str, visitor: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert variant_of(test, visitor, small) == "control" or variant_of(test, visitor, large) == "treatment"


@given(st.text(), st.text())
def test_none_and_all(test: str, visitor: str) -> None:
    assert variant_of(test, visitor, 0.0) == "control"
    assert variant_of(test, visitor, 1.0) == "treatment"


def test_shares_are_kept_and_tests_do_not_follow_each_other() -> None:
    visitors = [f"visitor-{n}" for n in range(10_000)]
    one = [variant_of("one", visitor, 0.3) == "treatment" for visitor in visitors]
    other = [variant_of("other", visitor, 0.3) == "treatment" for visitor in visitors]
    assert 2_800 < sum(one) < 3_200
    both = sum(a and b for a, b in zip(one, other, strict=True))
    assert 800 < both < 1_000, "as many as chance puts into both"
    assert variant_of("one", "visitor-1", 0.3) == variant_of("one", "visitor-1", 0.3) == "control"


@pytest.mark.parametrize(
    ("by", "headers", "ubi", "visitor"),
    [
        ("header:X-Session", [(b"x-session", b"s1")], {}, "s1"),
        ("header:X-Session", [(b"cookie", b"x-session=s1")], {}, None),
        ("header:X-Session", [(b"x-session", b"")], {}, None),
        ("cookie:sid", [(b"cookie", b"a=1; sid=s2; b=3")], {}, "s2"),
        ("cookie:sid", [(b"cookie", b"a=1"), (b"cookie", b"sid=s2")], {}, "s2"),
        ("cookie:sid", [(b"cookie", b"asid=s2")], {}, None),
        ("cookie:sid", [(b"cookie", b"\xff;;=;")], {}, None),
        ("ubi", [], {"client_id": "c"}, "c"),
        ("ubi", [], {"client_id": 7}, None),
        ("ubi", [], {}, None),
    ],
)
def test_who_searches(
    by: str, headers: list[tuple[bytes, bytes]], ubi: dict[str, object], visitor: str | None
) -> None:
    assert visitor_of(by, headers, ubi) == visitor
