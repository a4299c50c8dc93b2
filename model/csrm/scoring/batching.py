"""Cutting token sequences into batches by a token budget. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of sequences, longest first, so that no batch holds more than ``budget`` tokens, padding included.

    Sequences of like length come together, so little is padded; a sequence longer than the budget stands alone.

    Args:
        lengths: tokens of each sequence.
        budget: most tokens of one batch, counted as rows times the longest row.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows
