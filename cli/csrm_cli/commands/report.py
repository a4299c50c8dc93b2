"""``csrm report``: what an A/B test of the gateway shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from csrm_opensearch.ab_report import Action, Interval


def report(
    records: Annotated[list[Path], typer.Argument(help="The gateway's records (JSON lines).", exists=True)],
    opensearch: Annotated[
        str, typer.Option(help="URL of the OpenSearch with the events of User Behavior Insights.")
    ] = "http://127.0.0.1:9200",
    events: Annotated[str, typer.Option(help="Index of the events.")] = "ubi_events",
    click: Annotated[list[str], typer.Option(help="Name of an action that is a click.")] = ["click"],  # noqa: B006
    purchase: Annotated[list[str], typer.Option(help="Name of an action that is a purchase.")] = ["purchase"],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare treatment and control: what was removed, clicks and purchases a visitor, searches without result."""
    from rich.console import Console
    from rich.table import Table

    from csrm_opensearch.ab_events import read_actions
    from csrm_opensearch.ab_report import ab_report
    from csrm_opensearch.cluster import connect

    kinds: dict[str, Action] = {**dict.fromkeys(click, "click"), **dict.fromkeys(purchase, "purchase")}
    rows = list(_read(records))
    since = min((row["time"] for row in rows if "time" in row), default=None)
    result = ab_report(rows, read_actions(connect(opensearch), events, kinds, since=since))
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    table = Table(
        *("", "visitors", "searches", "reranked", "products removed", "without result"),
        *("clicks a visitor", "purchases a visitor"),
    )
    for side in result.variants:
        table.add_row(
            side.variant,
            str(side.visitors),
            str(side.searches),
            f"{side.reranked:.1%}",
            "-" if side.removed is None else f"{side.removed:.1%}",
            "-" if side.without_result is None else _shown(side.without_result),
            _shown(side.clicks),
            _shown(side.purchases),
        )
    if result.more_clicks and result.more_purchases:
        more = map(_shown, (result.more_clicks, result.more_purchases))
        table.add_row("difference", "", "", "", "", "", *more)
    Console(width=None if Console().is_terminal else 140).print(table)


def _read(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The records; a line cut off in writing is left out."""
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record


def _shown(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
