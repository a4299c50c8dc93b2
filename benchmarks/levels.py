"""A plot of what each level costs and brings: quality on labelled rows against the time of a search.

    csrm bench scoring --precision P --products 100 --concurrency 1 --json scoring.json
    for level in fast balanced full; do csrm evaluate --data ROWS --level $level --precision P --json $level.json; done
    csrm evaluate --data ROWS --scorer embedding --json embedding.json
    python -m benchmarks.levels scoring.json fast.json balanced.json full.json embedding.json --out docs/levels.png

The time is p50 of 100 products for one query, in the precision of the evaluation; for what is no level, 100
products at the pairs a second that its evaluation reached. The quality is the ROC-AUC of E and S against C and I, and
the share of defects removed where exactly 2 % of the relevant products are lost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PRODUCTS = 100


@dataclass(frozen=True, slots=True)
class Point:
    """One way to judge: milliseconds for 100 products, and each quality with its 95 % interval."""

    name: str
    ms: float
    auc: Mapping[str, Any]
    removed: Mapping[str, Any]


def points(scoring: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> list[Point]:
    """A point for each evaluation.

    Raises:
        SystemExit: the benchmark has no row of a level in the precision that it was evaluated in.
    """
    times = {
        (row["scorer"], row["precision"]): row["p50_ms"]
        for row in scoring["rows"]
        if (row["products"], row["concurrency"]) == (PRODUCTS, 1)
    }
    found = []
    for one in evaluations:
        name, ms = one["scorer"], 1_000 * PRODUCTS / one["pairs_per_second"]
        if one["all_layers"] is not None:
            name, precision = one["level"], one["precision"]
            if (f"csrm-{name}", precision) not in times:
                raise SystemExit(
                    f"The benchmark has no row of csrm-{name} in {precision} with {PRODUCTS} products at once."
                )
            ms = times[f"csrm-{name}", precision]
        found.append(Point(name, ms, one["all"]["auc_es"], one["all"]["at_2pct"]["defects_removed"]))
    return found


def plot(found: Sequence[Point]) -> Figure:
    """Both qualities against time, each with its 95 % interval over queries."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    titles = {"auc": "ROC-AUC of E, S against C, I", "removed": "share of defects removed at a 2 % loss"}
    for axes, (quality, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for point in found:
            figures: Mapping[str, Any] = getattr(point, quality)
            value, (low, high) = figures["value"], figures["ci95"]
            axes.errorbar(
                point.ms,
                value,
                yerr=[[value - low], [high - value]],
                fmt="o",
                capsize=3,
                label=f"{point.name}: {value:.3f} in {point.ms:,.0f} ms",
            )
        axes.legend(loc="lower left")
        axes.set(xlabel=f"ms for {PRODUCTS} products, p50", ylabel=title, xlim=(0, None))
        axes.margins(x=0.1, y=0.35)
        axes.grid(alpha=0.3, which="both")
    return figure


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scoring", type=Path, help="what csrm bench scoring --json wrote")
    parser.add_argument(
        "evaluations", type=Path, nargs="+", help="what csrm evaluate --json wrote, one a level"
    )
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    told = parser.parse_args()
    scoring, *evaluations = (
        json.loads(path.read_text(encoding="utf-8")) for path in (told.scoring, *told.evaluations)
    )
    plot(points(scoring, evaluations)).savefig(told.out, dpi=110)


if __name__ == "__main__":
    main()
