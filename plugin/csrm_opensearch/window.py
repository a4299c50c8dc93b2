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


def decide(judgments: Sequence[Judgment | None], *, min_keep: int, reorder: bool) -> Outcome:
    """Which products of a window stay, and in which order.

    Args:
        judgments: one a product in lexical order; null where the product has no text and could not be judged.
        min_keep: stop removing at so many; the least irrelevant stay, the lexically higher where equal.
        reorder: by descending score, lexical order where equal; products that were not judged keep their
            place among those that stay. False keeps the lexical order.
    """
    doomed = [rank for rank, judgment in enumerate(judgments) if judgment and judgment.decision == "remove"]
    spared = max(0, min(min_keep, len(judgments)) - (len(judgments) - len(doomed)))
    by_irrelevance = sorted(doomed, key=lambda rank: (_judged(judgments, rank).irrelevance, rank))
    removed = set(by_irrelevance[spared:])
    kept = [rank for rank in range(len(judgments)) if rank not in removed]
    if reorder:
        judged = sorted(
            (rank for rank in kept if judgments[rank]),
            key=lambda rank: (-_judged(judgments, rank).score, rank),
        )
        best = iter(judged)
        kept = [next(best) if judgments[rank] else rank for rank in kept]
    return Outcome(tuple(kept), tuple(sorted(removed)))


def place(outcome: Outcome, start: int, size: int) -> Page:
    """Where the hits of the page ``[start, start + size)`` come from."""
    kept = outcome.kept[start : start + size]
    return Page(kept, max(start, len(outcome.kept)) + len(outcome.removed), size - len(kept))


def _judged(judgments: Sequence[Judgment | None], rank: int) -> Judgment:
    judgment = judgments[rank]
    assert judgment is not None
    return judgment
