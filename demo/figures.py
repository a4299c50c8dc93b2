"""The demo's figures, from what was shown before and after: pure rules, no server and no screen.

    defect ratio@10   defects (C or I) among the first ten shown / products shown there, over all queries
    relevant lost     relevant products (E or S) of the window that are gone / relevant products of it
    nDCG@10           gains E 1, S 0.1, C 0.01, I 0; the ideal order is the window's, before and after

Ratios are pooled: sums over all queries are divided once, so an emptied page adds nothing to either sum; it
is counted by itself, and so is a query without hits, where there is nothing to rerank. A query with hits that the
gateway did not rerank counts with the page that it really showed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Grade = Literal["E", "S", "C", "I"]

PAGE = 10
RELEVANT = frozenset("ES")
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}


@dataclass(frozen=True)
class Hit:
    """A product as it was shown, and what the shop's own judgment says of it."""

    id: str
    title: str
    grade: Grade

    @property
    def relevant(self) -> bool:
        return self.grade in RELEVANT


@dataclass(frozen=True)
class Outcome:
    """One query, asked of OpenSearch directly and through the gateway.

    Attributes:
        before: the window, in the order of OpenSearch.
        after: what the gateway shows, in its order.
        direct_ms, gateway_ms: what the client waited.
        status: the gateway's ``csrm-status`` header.
    """

    query: str
    locale: str
    kind: str
    held_out: bool
    before: Sequence[Hit]
    after: Sequence[Hit]
    direct_ms: float
    gateway_ms: float
    status: str

    @property
    def reranked(self) -> bool:
        return self.status.startswith("reranked")

    @property
    def removed(self) -> list[Hit]:
        """Hits of the window that are shown nowhere any more."""
        kept = {hit.id for hit in self.after}
        return [hit for hit in self.before if hit.id not in kept]

    @property
    def defects_saved(self) -> int:
        """How many defects the first page has fewer than before; negative when it has more."""
        return defects(self.before[:PAGE]) - defects(self.after[:PAGE])


def defects(hits: Sequence[Hit]) -> int:
    """How many of ``hits`` are complements or irrelevant."""
    return sum(not hit.relevant for hit in hits)


def ndcg(shown: Sequence[Hit], window: Sequence[Hit]) -> float | None:
    """nDCG@10 of ``shown`` against the best order of ``window``; None when nothing in it has a gain."""
    ideal = _dcg(sorted((GAINS[hit.grade] for hit in window), reverse=True))
    return _dcg([GAINS[hit.grade] for hit in shown]) / ideal if ideal else None


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of some queries, in the shape of ``report.json``.

    Args:
        outcomes: at least one.
    """
    pages_before = [outcome.before[:PAGE] for outcome in outcomes]
    pages_after = [outcome.after[:PAGE] for outcome in outcomes]
    relevant = sum(hit.relevant for outcome in outcomes for hit in outcome.before)
    lost = sum(hit.relevant for outcome in outcomes for hit in outcome.removed)
    waits = sorted(outcome.gateway_ms for outcome in outcomes)
    direct = sorted(outcome.direct_ms for outcome in outcomes)
    return {
        "queries": len(outcomes),
        "defect_ratio_at_10": {"before": _defect_ratio(pages_before), "after": _defect_ratio(pages_after)},
        "relevant_lost": _ratio(lost, relevant),
        "latency_ms": {"p50": percentile(waits, 50), "p95": percentile(waits, 95)},
        "latency_direct_ms": {"p50": percentile(direct, 50), "p95": percentile(direct, 95)},
        "ndcg_at_10": {
            "before": _mean_ndcg([(outcome.before, outcome.before) for outcome in outcomes]),
            "after": _mean_ndcg([(outcome.after, outcome.before) for outcome in outcomes]),
        },
        "shown_at_10": {"before": sum(map(len, pages_before)), "after": sum(map(len, pages_after))},
        "relevant_at_10": {
            "before": sum(len(page) - defects(page) for page in pages_before),
            "after": sum(len(page) - defects(page) for page in pages_after),
        },
        "removed": {"relevant": lost, "defects": sum(defects(outcome.removed) for outcome in outcomes)},
        "window": {"relevant": relevant, "products": sum(len(outcome.before) for outcome in outcomes)},
        "emptied_pages": sum(bool(outcome.before) and not outcome.after for outcome in outcomes),
        "without_hits": sum(not outcome.before for outcome in outcomes),
        "not_reranked": sum(bool(outcome.before) and not outcome.reranked for outcome in outcomes),
    }


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures by locale, of all, and of the queries on product families that no model was trained on."""
    held_out = [outcome for outcome in outcomes if outcome.held_out]
    return {
        "locales": _by_locale(outcomes),
        "all": figures(outcomes),
        "held_out_families": {**figures(held_out), "locales": _by_locale(held_out)} if held_out else None,
    }


def telling(outcomes: Sequence[Outcome], best: int = 2) -> list[Outcome]:
    """What is worth showing: the ``best`` queries, whose first page lost most defects, and the worst one."""
    by_gain = sorted(outcomes, key=lambda outcome: outcome.defects_saved, reverse=True)
    worst = min(
        outcomes, key=lambda outcome: (outcome.defects_saved, -sum(hit.relevant for hit in outcome.removed))
    )
    return [*by_gain[:best], *([worst] if worst not in by_gain[:best] else [])]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest of ``ordered`` (ascending) that ``percent`` of them do not exceed."""
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 1)


def _by_locale(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    locales = dict.fromkeys(outcome.locale for outcome in outcomes)
    return {name: figures([outcome for outcome in outcomes if outcome.locale == name]) for name in locales}


def _defect_ratio(pages: Sequence[Sequence[Hit]]) -> float | None:
    return _ratio(sum(map(defects, pages)), sum(map(len, pages)))


def _mean_ndcg(shown_and_window: Sequence[tuple[Sequence[Hit], Sequence[Hit]]]) -> float | None:
    values = [value for pair in shown_and_window if (value := ndcg(*pair)) is not None]
    return round(statistics.fmean(values), 4) if values else None


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:PAGE]))


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
