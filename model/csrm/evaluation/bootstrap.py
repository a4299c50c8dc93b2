"""Intervals by the bootstrap: whole queries are drawn again, since the rows of one query stand and fall together.

Percentile bootstrap over clusters (Efron and Tibshirani 1993, chapters 8 and 13). A draw is a weight for each row, so
that a figure of a thousand draws is a few operations on one array. Knows rows and weights; knows no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.errors import MissingExtraError
from csrm.training.data import normalise

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

Floats = NDArray[np.float64]

DRAWS = 1_000
SEED = 20260917
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of some rows: its value, null where it cannot be computed, and its values (b,) under weights (b, n)."""

    value: float | None
    resampled: Callable[[Floats], Floats]


Estimate = dict[str, "float | list[float] | None"]
"""``{"value", "ci95": [low, high]}``; value and interval are null where they cannot be computed."""


def clusters(rows: Sequence[LabelledPair]) -> NDArray[np.intp]:
    """A number for each row, (n,), the same for rows that are drawn together.

    These are the rows of one query of a locale, and the rows that are translations of one another: those with the same
    ``id`` in several locales. Ids that repeat within a locale do not name rows, and are not looked at.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    names: dict[tuple[str, ...], int] = {}
    edges = [
        (place, names.setdefault(("query", row.locale, normalise(row.query)), len(names)))
        for place, row in enumerate(rows)
    ]
    named = [(row.locale, row.id) for row in rows if row.id is not None]
    if len(set(named)) == len(named):
        edges += [
            (place, names.setdefault(("id", repr(row.id)), len(names)))
            for place, row in enumerate(rows)
            if row.id is not None
        ]
    if not edges:
        return np.empty(0, dtype=np.intp)
    start, end = np.array(edges).T
    size = len(rows) + len(names)
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (start, end + len(rows))), shape=(size, size))
    components = connected_components(graph, directed=False)[1][: len(rows)]
    return np.asarray(np.unique(components, return_inverse=True)[1], dtype=np.intp)


def estimates(
    figures: Mapping[str, Figure], cluster: NDArray[np.intp], *, draws: int = DRAWS, seed: int = SEED
) -> dict[str, Estimate]:
    """The figures with bootstrap 95 % intervals; all figures see the same draws.

    Args:
        figures: by name, of the same n rows.
        cluster: of each row, (n,), as ``clusters`` gives them.
        draws: number of draws.
        seed: of the draws: equal rows give equal intervals.
    """
    values: dict[str, list[Floats]] = {name: [] for name in figures}
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any defect has no figure of defects
        for weights in _draws(cluster, draws, seed):
            for name, figure in figures.items():
                if figure.value is not None:
                    values[name].append(figure.resampled(weights))
    return {name: _estimate(figure, values[name]) for name, figure in figures.items()}


def _draws(cluster: NDArray[np.intp], draws: int, seed: int) -> Iterator[Floats]:
    """Weights (b, n) of the rows, some draws at a time; none where there are not two clusters to draw from."""
    count = int(cluster.max()) + 1 if len(cluster) else 0
    if count < 2:
        return
    generator = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // len(cluster))
    for begin in range(0, draws, at_once):
        size = min(at_once, draws - begin)
        drawn = generator.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, cluster].astype(np.float64)


def _estimate(figure: Figure, values: Sequence[Floats]) -> Estimate:
    found = np.concatenate(values) if values else np.empty(0)
    found = found[np.isfinite(found)]
    if figure.value is None or not len(found):
        return {"value": figure.value, "ci95": None}
    low, high = np.quantile(found, [0.025, 0.975])
    return {"value": figure.value, "ci95": [float(low), float(high)]}
