"""What an A/B test of the gateway shows: figures by variant, with 95 % confidence intervals. Pure.

Visitors, not searches, are what the test draws: clicks and purchases are counted by visitor, and an interval is
that of a mean over visitors (normal approximation; for shares of searches Wilson's, Wilson 1927).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["click", "purchase"]
Z95 = 1.959964
"""Standard deviations of a normal distribution on each side that hold 95 % of it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """One side of a test.

    Attributes:
        reranked: share of the searches whose page was changed; the others were skipped for a reason.
        removed: share of the judged products that were removed.
        without_result: share of the searches that showed nothing on their first page; null where no page was
            read (batches in which there was nothing to rerank pass through unread).
        clicks: a visitor; purchases: a visitor.
    """

    variant: str
    visitors: int
    searches: int
    reranked: float
    removed: float | None
    without_result: Interval | None
    clicks: Interval
    purchases: Interval


@dataclass(frozen=True, slots=True)
class TestReport:
    """Both sides, and the differences a visitor: treatment less control, null where a side is empty."""

    __test__ = False  # not a test of pytest's

    variants: list[VariantFigures]
    more_clicks: Interval | None
    more_purchases: Interval | None


def ab_report(records: Iterable[Mapping[str, Any]], actions: Iterable[tuple[str, Action]]) -> TestReport:
    """The figures of a test.

    Args:
        records: the gateway's records, decoded; those of searches in no test are left out.
        actions: query ids of User Behavior Insights, each with what a shopper did after that query.
    """
    searches: dict[str, list[Mapping[str, Any]]] = {"treatment": [], "control": []}
    for record in records:
        if record.get("variant") in searches and record.get("visitor"):
            searches[record["variant"]].append(record)
    done: dict[str, Counter[str]] = {}
    for query_id, action in actions:
        done.setdefault(query_id, Counter())[action] += 1
    counts = {side: _by_visitor(rows, done) for side, rows in searches.items()}
    variants = [_figures(side, rows, counts[side]) for side, rows in searches.items() if rows]
    return TestReport(variants, *(_difference(counts, action) for action in ("click", "purchase")))


def _by_visitor(
    records: Sequence[Mapping[str, Any]], done: Mapping[str, Counter[str]]
) -> dict[str, Counter[str]]:
    visitors: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    for record in records:
        visitor = visitors.setdefault(record["visitor"], Counter())
        query_id = record.get("query_id")
        if query_id and query_id not in seen:  # the pages of one query share its id
            seen.add(query_id)
            visitor.update(done.get(query_id, {}))
    return visitors


def _figures(
    variant: str, records: Sequence[Mapping[str, Any]], visitors: Mapping[str, Counter[str]]
) -> VariantFigures:
    judged = sum(record.get("window") or 0 for record in records)
    removed = sum(record.get("removed") or 0 for record in records)
    found = [
        record["hits"] for record in records if record.get("from") == 0 and record.get("hits") is not None
    ]
    return VariantFigures(
        variant=variant,
        visitors=len(visitors),
        searches=len(records),
        reranked=sum(record.get("outcome") == "reranked" for record in records) / len(records),
        removed=removed / judged if judged else None,
        without_result=share(found.count(0), len(found)) if found else None,
        clicks=mean([counted["click"] for counted in visitors.values()]),
        purchases=mean([counted["purchase"] for counted in visitors.values()]),
    )


def _difference(counts: Mapping[str, Mapping[str, Counter[str]]], action: Action) -> Interval | None:
    sides = [[counted[action] for counted in counts[side].values()] for side in ("treatment", "control")]
    if not all(sides):
        return None
    (treated, treated_error), (left, left_error) = map(_mean_and_error, sides)
    half = Z95 * math.hypot(treated_error, left_error)
    return Interval(treated - left, treated - left - half, treated - left + half)


def mean(values: Sequence[float]) -> Interval:
    """The mean of at least one value; with one value alone the interval is the whole line."""
    value, error = _mean_and_error(values)
    return Interval(value, value - Z95 * error, value + Z95 * error)


def share(hits: int, of: int) -> Interval:
    """The share of some among at least one."""
    value, spread = hits / of, Z95**2 / of
    middle = (value + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(value * (1 - value) / of + spread / (4 * of)) / (1 + spread)
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    count = len(values)
    value = sum(values) / count
    if count == 1:
        return value, math.inf
    variance = sum((one - value) ** 2 for one in values) / (count - 1)
    return value, math.sqrt(variance / count)
