"""How long a run takes at most, so that it can be said before it starts. Pure.

How fast a scorer is shows only when it runs. But a slow one leaves the large cells out, and a fast one is soon done
with them: between the two lies the worst speed, whose time no scorer exceeds.
"""

from __future__ import annotations

from collections.abc import Sequence


def longest_s(cells: Sequence[tuple[int, int]], *, seconds: float, limit_s: float, compared: int) -> float:
    """Seconds that one scorer takes at most, loading aside, if its smallest cell takes no longer than the limit.

    Args:
        cells: products a query, and queries at once.
        seconds: of a cell; a query that has begun by then is waited for.
        limit_s: what would take longer is left out.
        compared: products whose order is compared before, for no longer than the limit.
    """
    sizes = [products * concurrency for products, concurrency in cells]

    def takes_s(most: int) -> float:
        """Of a scorer that judges just so many products within the limit."""
        fit = [size for size in sizes if size <= most]
        return seconds * len(fit) + limit_s * (min(compared, most) + sum(fit)) / most

    return max(map(takes_s, (*sizes, compared)))  # one that is a little slower leaves a cell out
