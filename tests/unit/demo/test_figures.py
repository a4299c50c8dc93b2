"""The demo's figures, on pages small enough to count by hand, and what holds for all pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.figures import GAINS, Hit, Outcome, figures, ndcg, percentile, report, telling


def page(grades: str, start: int = 0) -> list[Hit]:
    return [Hit(str(start + place), f"product {start + place}", grade) for place, grade in enumerate(grades)]


def outcome(before: list[Hit], after: list[Hit], **fields: object) -> Outcome:
    given_ = {
        "query": "q",
        "locale": "ko",
        "kind": "accessory",
        "held_out": False,
        "direct_ms": 5.0,
        "gateway_ms": 800.0,
        "status": "reranked; window=50; removed=1",
    }
    return Outcome(before=before, after=after, **{**given_, **fields})  # type: ignore[arg-type]


def test_figures_of_two_queries_counted_by_hand() -> None:
    first = page("ICEEIIEESSII")  # first ten: I C I I are defects
    second = page("IIE")
    outcomes = [
        outcome(first, [first[2], first[3], first[8], first[0]], gateway_ms=900.0),  # 2 E and 1 S of 6 stay
        outcome(second, [second[2]], gateway_ms=700.0),
    ]
    found = figures(outcomes)
    assert found["queries"] == 2
    assert found["defect_ratio_at_10"] == {"before": round(6 / 13, 4), "after": round(1 / 5, 4)}
    assert found["relevant_lost"] == round(3 / 7, 4)
    assert found["latency_ms"] == {"p50": 700.0, "p95": 900.0}
    assert found["shown_at_10"] == {"before": 13, "after": 5}
    assert found["relevant_at_10"] == {"before": 7, "after": 4}
    assert found["removed"] == {"relevant": 3, "defects": 7}
    assert found["emptied_pages"] == 0


def test_an_emptied_page_is_counted_and_earns_nothing() -> None:
    found = figures([outcome(page("II"), []), outcome(page("EI"), page("EI"))])
    assert found["emptied_pages"] == 1
    assert found["defect_ratio_at_10"] == {"before": 0.75, "after": 0.5}


def test_a_query_without_hits_is_no_failure_of_the_gateway() -> None:
    found = figures([outcome([], [], status="skipped; reason=no-hits"), outcome(page("EI"), page("E"))])
    assert (found["without_hits"], found["not_reranked"]) == (1, 0)


def test_a_query_that_was_not_reranked_is_visible_and_counts_as_shown() -> None:
    shown = page("EI")
    found = figures([outcome(shown, shown, status="skipped; reason=deadline")])
    assert found["not_reranked"] == 1
    assert found["defect_ratio_at_10"] == {"before": 0.5, "after": 0.5}


def test_a_product_from_beyond_the_window_counts_where_it_is_shown() -> None:
    found = figures([outcome(page("EI"), [*page("E"), *page("I", start=7)])])
    assert found["defect_ratio_at_10"]["after"] == 0.5
    assert found["relevant_lost"] == 0.0


def test_the_report_keeps_locales_and_held_out_families_apart() -> None:
    made = report(
        [
            outcome(page("E"), page("E")),
            outcome(page("I"), [], locale="ja", held_out=True),
            outcome(page("EI"), page("E"), locale="ja"),
        ]
    )
    assert list(made["locales"]) == ["ko", "ja"]
    assert made["locales"]["ja"]["queries"] == 2
    assert made["all"]["queries"] == 3
    assert made["held_out_families"]["queries"] == 1
    assert made["held_out_families"]["emptied_pages"] == 1
    assert list(made["held_out_families"]["locales"]) == ["ja"]


def test_no_page_is_told_twice_and_the_worst_is_told() -> None:
    good = outcome(page("IIIE"), page("E"), query="good")
    bad = outcome(page("EEII"), page("II", start=2), query="bad")
    fair = outcome(page("IE"), page("E"), query="fair")
    assert [told.query for told in telling([bad, fair, good])] == ["good", "fair", "bad"]
    assert [told.query for told in telling([good])] == ["good"]


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (95, 4.0), (0, 1.0), (100, 4.0)])
def test_percentiles_are_measured_values(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value


GRADES = st.lists(st.sampled_from(list(GAINS)), max_size=30).map("".join)


@given(GRADES)
def test_ndcg_is_best_for_the_best_order(grades: str) -> None:
    window = page(grades)
    best = sorted(window, key=lambda hit: GAINS[hit.grade], reverse=True)
    as_found, ideal = ndcg(window, window), ndcg(best, window)
    assert (ideal is None) == (as_found is None) == (not any(GAINS[grade] for grade in grades))
    if ideal is not None and as_found is not None:
        assert ideal == pytest.approx(1.0)
        assert 0 <= as_found <= 1 + 1e-9


@given(GRADES, st.data())
def test_ratios_are_shares_and_removed_products_add_up(grades: str, data: st.DataObject) -> None:
    window = page(grades)
    kept = [hit for hit in window if data.draw(st.booleans())]
    found = figures([outcome(window, kept)])
    shares = [*found["defect_ratio_at_10"].values(), found["relevant_lost"]]
    assert all(share is None or 0 <= share <= 1 for share in shares)
    assert found["removed"]["relevant"] + found["removed"]["defects"] == len(window) - len(kept)
