"""Figures of an A/B test: by visitor, with intervals that hold what they promise."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.ab_report import ab_report, mean, share


def record(variant: str, visitor: str, query_id: str | None, **more: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "visitor": visitor,
        "query_id": query_id,
        "outcome": "reranked" if variant == "treatment" else "skipped",
        "reason": None if variant == "treatment" else "control",
        "from": 0,
        "hits": 10,
        "window": 100 if variant == "treatment" else 0,
        "removed": 30 if variant == "treatment" else 0,
    } | more


def test_counts_by_visitor_and_side() -> None:
    records = [
        record("treatment", "a", "q1"),
        record("treatment", "a", "q1", **{"from": 10, "hits": 0}),  # its second page
        record("treatment", "a", "q2", outcome="skipped", reason="no-hits", window=0, removed=0, hits=0),
        record("treatment", "b", None),
        record("control", "c", "q3", hits=None),
        record("control", "d", "q4"),
        {"variant": None, "visitor": None, "query_id": "q5"},
    ]
    actions: list[tuple[str, Any]] = [("q1", "click"), ("q1", "click"), ("q2", "purchase")]
    actions += [("q3", "click"), ("q5", "click"), ("unknown", "purchase")]
    report = ab_report(records, actions)
    treated, control = report.variants
    assert (treated.variant, treated.visitors, treated.searches) == ("treatment", 2, 4)
    assert (treated.reranked, treated.removed) == (0.75, 0.3)
    assert (treated.clicks.value, treated.purchases.value) == (1.0, 0.5)
    assert treated.without_result and treated.without_result.value == pytest.approx(1 / 3)
    assert control.without_result and control.without_result.value == 0.0
    assert (control.visitors, control.removed, control.clicks.value) == (2, None, 0.5)
    assert report.more_clicks and report.more_clicks.value == 0.5
    assert report.more_clicks.low < 0 < report.more_clicks.high


def test_an_empty_side_makes_no_difference() -> None:
    assert ab_report([], []).variants == []
    report = ab_report([record("treatment", "a", "q")], [])
    assert [side.variant for side in report.variants] == ["treatment"]
    assert report.more_clicks is None and report.more_purchases is None


def test_the_intervals_hold_the_truth_in_95_of_100_tests() -> None:
    draw = random.Random(7)
    inside = {"mean": 0, "share": 0, "difference": 0}
    for _ in range(400):
        clicks = {
            side: [sum(draw.random() < rate for _ in range(3)) for _ in range(120)]
            for side, rate in (("treatment", 0.3), ("control", 0.2))
        }
        treated = mean(clicks["treatment"])
        inside["mean"] += treated.low <= 0.9 <= treated.high
        empty = share(sum(draw.random() < 0.1 for _ in range(200)), 200)
        inside["share"] += empty.low <= 0.1 <= empty.high
        records = [record(side, f"{side}{n}", f"{side}{n}") for side in clicks for n in range(120)]
        actions: list[tuple[str, Any]] = [
            (f"{side}{n}", "click")
            for side, counts in clicks.items()
            for n, c in enumerate(counts)
            for _ in range(c)
        ]
        more = ab_report(records, actions).more_clicks
        assert more
        inside["difference"] += more.low <= 0.3 <= more.high
    assert all(0.92 * 400 < count < 0.98 * 400 for count in inside.values()), inside


@given(st.integers(1, 1000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_in_its_interval(counted: tuple[int, int]) -> None:
    figure = share(*counted)
    assert 0 <= figure.low <= figure.value + 1e-12 and figure.value - 1e-12 <= figure.high <= 1


def test_one_visitor_says_nothing_of_others() -> None:
    assert mean([3]).value == 3
    assert mean([3]).high == pytest.approx(float("inf"))
