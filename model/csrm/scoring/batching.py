"""Cutting token sequences into batches by a token budget. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], budget: int, *, within: int | None = None) -> Iterator[list[int]]:
    """Indices of sequences, so that no batch holds more than ``budget`` tokens, padding included.

    Sequences of like length come together, longest first, so little is padded; a sequence longer than the budget
    stands alone.

    Args:
        lengths: tokens of each sequence.
        budget: most tokens of one batch, counted as rows times the longest row.
        within: sequences are brought together only within so many neighbours, for an order that holds by and
            large; all of them where null.
    """
    step = within or max(1, len(lengths))
    for first in range(0, len(lengths), step):
        neighbours = range(first, min(first + step, len(lengths)))
        order = sorted(neighbours, key=lambda i: (-lengths[i], i))
        start = 0
        while start < len(order):
            rows = max(1, budget // max(1, lengths[order[start]]))
            yield order[start : start + rows]
            start += rows
