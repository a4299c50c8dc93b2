"""Do titles give their labels away? Share of the query's letters that the title has, and its length, by label.

    python -m benchmarks.label_overlap FILE... [--by file|source]

For each file (or source: who gave the label), locale and label: how many rows, the mean share of the query's letter
pairs and triples that stand in the title too, and the mean length of the title in characters. Written rows should lie
where human ones do: where titles of E share fewer letters with their queries than in a shop, or are longer than the
others, a model learns that instead of what the words mean.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from csrm.knowledge.ngrams import grams
from csrm.prompt import GRADES
from csrm.training.data import TrainingRow, read_pairs


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows of one label."""

    rows: int
    overlap: float
    length: float


def overlap(row: TrainingRow) -> float:
    """Share of the query's letter pairs and triples, within words, that the title has too."""
    asked = set(grams(row.query))
    return len(asked & set(grams(row.title))) / max(1, len(asked))


def cells(rows: Iterable[TrainingRow]) -> dict[tuple[str, str], Cell]:
    """By locale and label; rows that may have several labels are left out."""
    found: dict[tuple[str, str], list[TrainingRow]] = defaultdict(list)
    for row in rows:
        if len(row.label) == 1:
            found[row.locale, row.label].append(row)
    return {
        key: Cell(
            len(part),
            sum(map(overlap, part)) / len(part),
            sum(len(row.title) for row in part) / len(part),
        )
        for key, part in found.items()
    }


def table(named: dict[str, list[TrainingRow]]) -> str:
    """Markdown: a line for each name and locale, ``rows, overlap, length`` for each label."""
    lines = ["| rows | locale | " + " | ".join(GRADES) + " |", "|---" * (2 + len(GRADES)) + "|"]
    for name, rows in named.items():
        by = cells(rows)
        for locale in sorted({locale for locale, _ in by}):
            told = [by.get((locale, grade)) for grade in GRADES]
            cell = [f"{c.rows:,}, {c.overlap:.2f}, {c.length:.0f}" if c else "" for c in told]
            lines.append(f"| {name} | {locale} | " + " | ".join(cell) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--by", choices=("file", "source"), default="file", help="source: who gave the label")
    arguments = parser.parse_args()
    named: dict[str, list[TrainingRow]] = defaultdict(list)
    for path in arguments.files:
        for row in read_pairs(path, TrainingRow):
            named[f"{path.parent.name}/{path.name}" if arguments.by == "file" else row.label_by].append(row)
    sys.stdout.write(table(named) + "\n")


if __name__ == "__main__":
    main()
