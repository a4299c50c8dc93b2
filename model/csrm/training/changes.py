"""What a round of self-distillation makes of the labels: how many change, from what to what, and examples to judge by.

Who trusts refined labels has to be able to see them. Knows rows and grades; knows no model and no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrm.prompt import GRADES
from csrm.training.data import TrainingRow

EXAMPLES = 20
SHOWN = 3
"""Of the examples, in the log and on the terminal."""
WIDTH = 90
"""Characters of a query or title that are shown there."""

Grades = NDArray[np.float32]
Report = dict[str, Any]


def report(rows: Sequence[TrainingRow], given: Grades, found: Grades, targets: Grades) -> Report:
    """Which labels change, and for which rows the teachers alone would have said another grade.

    A row that may have several grades has no label that could change. Of repeated rows the examples have one.

    Args:
        rows: n rows.
        given: their labels, (n, 4).
        found: the teachers' grades, (n, 4).
        targets: what becomes of the labels, (n, 4).
    """
    single = given.sum(axis=1) < 1.5
    before = given.argmax(axis=1)
    labelled = int(single.sum())
    changed = _surest(single & (before != targets.argmax(axis=1)), targets)
    otherwise = _surest(single & (before != found.argmax(axis=1)), found)

    def kind(row: int, after: Grades) -> str:
        return f"{GRADES[before[row]]} -> {GRADES[after[row].argmax()]}"

    return {
        "labelled": labelled,
        "changed": len(changed),
        "changed_share": round(len(changed) / max(1, labelled), 4),
        "changed_kinds": dict(Counter(kind(i, targets) for i in changed).most_common()),
        "changed_examples": [
            {
                "query": rows[i].query,
                "title": rows[i].title,
                "from": GRADES[before[i]],
                "to": GRADES[targets[i].argmax()],
            }
            for i in _each_once(rows, changed)
        ],
        "graded_otherwise": len(otherwise),
        "graded_otherwise_share": round(len(otherwise) / max(1, labelled), 4),
        "kinds": dict(Counter(f"{rows[i].label_by} {kind(i, found)}" for i in otherwise).most_common()),
        "examples": [
            {
                "query": rows[i].query,
                "title": rows[i].title,
                "given": rows[i].label,
                "teachers": {g: round(float(p), 3) for g, p in zip(GRADES, found[i], strict=True)},
            }
            for i in _each_once(rows, otherwise)
        ],
    }


def brief(full: Report) -> Report:
    """What a line of the log has of a report."""
    left_out = ("kinds", "examples")
    return {name: value for name, value in full.items() if name not in left_out} | {
        "changed_examples": full["changed_examples"][:SHOWN]
    }


def lines(full: Report) -> list[str]:
    """What is shown of a report: the changes in a line, and the surest of them."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in full["changed_kinds"].items())
    said = (
        f"{full['changed']} of {full['labelled']} labels change ({full['changed_share']:.1%})"
        f"{f': {kinds}' if kinds else ''}; teachers alone would grade {full['graded_otherwise_share']:.1%} otherwise"
    )
    return [said, *(_shown(example) for example in full["changed_examples"][:SHOWN])]


def _shown(example: Mapping[str, str]) -> str:
    query, title = (_cut(example[name]) for name in ("query", "title"))
    return f"{example['from']} -> {example['to']}: {query} | {title}"


def _cut(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= WIDTH else f"{folded[: WIDTH - 3]}..."


def _surest(chosen: NDArray[np.bool_], grades: Grades) -> list[int]:
    """Places of the chosen rows, those first of which the grades are surest."""
    return sorted(np.flatnonzero(chosen).tolist(), key=lambda i: -float(grades[i].max()))


def _each_once(rows: Sequence[TrainingRow], places: Sequence[int]) -> list[int]:
    """The first of the places, without rows that a recipe repeats."""
    first: dict[tuple[str, str], int] = {}
    for place in places:
        first.setdefault(rows[place].key, place)
    return list(first.values())[:EXAMPLES]
