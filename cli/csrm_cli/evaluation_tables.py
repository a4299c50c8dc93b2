"""The result of an evaluation as tables to read. Knows the result's shape and rich; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

_COLUMNS = {
    "AUC E": ("auc_e",),
    "AUC E+S": ("auc_es",),
    "PR-AUC C+I": ("pr_auc_defect",),
    "F1 micro": ("micro_f1",),
    "F1 macro": ("macro_f1",),
    "nDCG@10": ("ndcg10",),
    "ECE": ("ece",),
    "relevant kept": ("at_threshold", "relevant_kept"),
    "defects removed": ("at_threshold", "defects_removed"),
    "at 2 % loss": ("at_2pct", "defects_removed"),
}


def report_table(result: dict[str, Any]) -> Table:
    """Every figure of every file and locale, its 95 % interval below it."""
    speed = result["pairs_per_second"]
    table = Table(
        title=" · ".join([result["scorer"], *_how(result), f"{speed:,.1f} pairs/s"]),
        caption="below each figure: 95 % interval",
    )
    table.add_column("")
    for name in ("rows", *_COLUMNS):
        table.add_column(name, justify="right")
    for name, report, last in _sections(result):
        cells = []
        for path in _COLUMNS.values():
            figure = report
            for key in path:
                figure = figure[key]
            cells.append(_cell(figure["value"], figure["ci95"]))
        table.add_row(name, str(report["n"]), *cells, end_section=last)
    return table


def _how(result: dict[str, Any]) -> list[str]:
    """What a scorer was told, and how deep it judged where it is a model."""
    told = f"knowledge {result['knowledge']}"
    if result["all_layers"] is None:
        return [told]
    return [
        told,
        f"level {result['level']} ({result['all_layers']:.0%} through all layers)",
        result["precision"],
    ]


def difference_table(result: dict[str, Any]) -> Table:
    """Two scorers beside each other, with the interval of their difference."""
    table = Table(title=f"{result['scorer']} against {result['against']['scorer']}")
    table.add_column("")
    table.add_column("rows", justify="right")
    for name in ("AUC E+S", "removed at 2 % loss"):
        table.add_column(name, justify="right")
        table.add_column("against", justify="right")
        table.add_column("difference", justify="right")
    for name, found, last in _sections(result["differences"]):
        cells = []
        for figure in ("auc_es", "at_2pct.defects_removed"):
            both = found[figure]
            apart = both["difference"]
            cells += [
                _cell(both["a"], None),
                _cell(both["b"], None),
                _cell(apart["value"], apart["ci95"], sign="+"),
            ]
        table.add_row(name, str(found["n"]), *cells, end_section=last)
    return table


def _sections(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(name, what is told of it, whether a section ends there) of each file, each locale, and all rows."""
    for section in ("files", "locales"):
        for place, (name, told) in enumerate(result[section].items(), 1):
            yield name, told, place == len(result[section])
    yield "all", result["all"], True


def _cell(value: float | None, interval: list[float] | None, *, sign: str = "") -> str:
    if value is None:
        return "-"
    shown = f"{value:{sign}.3f}"
    return shown if interval is None else f"{shown}\n{interval[0]:{sign}.2f}…{interval[1]:{sign}.2f}"
