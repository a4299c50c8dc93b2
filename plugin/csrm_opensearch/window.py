"""What stays of a window, in which order, and which places of the list a page takes from where.

The list that a shopper pages through is: the products of the window that stay, then OpenSearch's own list
beyond the window. Nothing in it depends on the page, so page n+1 continues page n whatever the page sizes.
Pure: knows judgments and ranks (0-based places in OpenSearch's list); knows no hits and no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csrm.wire import Judgment


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ranks of the window's products: those kept, in the order to show; those removed, in lexical order."""

    kept: tuple[int, ...]
    removed: tuple[int, ...]

    @property
    def window(self) -> int:
        """How many products the window had."""
        return len(self.kept) + len(self.removed)


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page comes from: ranks of kept products, then ``size`` hits of OpenSearch's from ``start``."""

    kept: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Order:
    """What orders the products that stay: one figure a product of the window, the highest first.

    ``figures`` are the weights and figures of each order that counts. With one, it is that order; with
    several, the sum of weighted reciprocal ranks (Cormack et al., SIGIR 2009) over the products that stay.
    """

    figures: tuple[tuple[float, Sequence[float]], ...]

    def sorted(self, ranks: Sequence[int]) -> list[int]:
        """Some products, best first; where equal, in lexical order."""
        if len(self.figures) == 1:
            return _by_figure(ranks, self.figures[0][1])
        sums = dict.fromkeys(ranks, 0.0)
        for weight, figures in self.figures:
            place = 0
            ordered = _by_figure(ranks, figures)
            for at, rank in enumerate(ordered):
                if at and figures[rank] < figures[ordered[at - 1]]:
                    place = at  # equal figures share the better place
                sums[rank] += weight / (RECIPROCAL_RANK_K + place)
        return sorted(ranks, key=lambda rank: (-sums[rank], rank))


RECIPROCAL_RANK_K = 60


def decide(judgments: Sequence[Judgment | None], *, min_keep: int, order: Order | None) -> Outcome:
    """Which products of a window stay, and in which order.

    Args:
        judgments: one a product in lexical order; null where the product has no text and could not be judged.
        min_keep: stop removing at so many; the least irrelevant stay, the lexically higher where equal.
        order: of those that stay; products that were not judged keep their place among them. Null keeps the
            lexical order.
    """
    doomed = [rank for rank, judgment in enumerate(judgments) if judgment and judgment.decision == "remove"]
    spared = max(0, min(min_keep, len(judgments)) - (len(judgments) - len(doomed)))
    by_irrelevance = sorted(doomed, key=lambda rank: (_judged(judgments, rank).irrelevance, rank))
    removed = set(by_irrelevance[spared:])
    kept = [rank for rank in range(len(judgments)) if rank not in removed]
    if order is not None:
        best = iter(order.sorted([rank for rank in kept if judgments[rank]]))
        kept = [next(best) if judgments[rank] else rank for rank in kept]
    return Outcome(tuple(kept), tuple(sorted(removed)))


def place(outcome: Outcome, start: int, size: int) -> Page:
    """Where the hits of the page ``[start, start + size)`` come from."""
    kept = outcome.kept[start : start + size]
    return Page(kept, max(start, len(outcome.kept)) + len(outcome.removed), size - len(kept))


def by_relevance(judgments: Sequence[Judgment | None]) -> Sequence[float]:
    """The figures of the order by relevance: the scores."""
    return [judgment.score if judgment else 0.0 for judgment in judgments]


def lexical(count: int) -> Sequence[float]:
    """The figures of OpenSearch's own order."""
    return range(0, -count, -1)


def _by_figure(ranks: Sequence[int], figures: Sequence[float]) -> list[int]:
    return sorted(ranks, key=lambda rank: (-figures[rank], rank))


def _judged(judgments: Sequence[Judgment | None], rank: int) -> Judgment:
    judgment = judgments[rank]
    assert judgment is not None
    return judgment
