"""What the demo prints: long steps while they run, pages side by side, figures. Knows no server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from demo.figures import PAGE, Hit, Outcome

_WIDTH_WITHOUT_TERMINAL = 130
_SHOWN = 6
_GRADE_STYLE = {"E": "bold green", "S": "green", "C": "yellow", "I": "red"}


def make_console() -> Console:
    """The console; wide enough for two pages side by side where the output is a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


@contextmanager
def step(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """A long step: a spinner with its time while it runs, one line when it is done.

    Yields:
        a function that says what the step is busy with.
    """
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    said = ""
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title)

        def say(detail: str) -> None:
            nonlocal said
            said = detail
            progress.update(task, description=f"{title} [dim]{escape(detail)}[/]")

        yield say
    detail = f" [dim]{escape(said)}[/]" if said else ""
    console.print(f"[green]✓[/] {title}{detail} [dim]({time.monotonic() - started:.1f} s)[/]")


@contextmanager
def counter(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A step of ``total`` parts, with a bar.

    Yields:
        a function that takes how many more parts are done.
    """
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda more: progress.advance(task, more)
    console.print(f"[green]✓[/] {title} [dim]({total}, {time.monotonic() - started:.1f} s)[/]")


def side_by_side(outcome: Outcome) -> Table:
    """The top of the page before and after, the products that went struck out, and those that rose marked."""
    gone = {hit.id for hit in outcome.removed}
    place = {hit.id: rank for rank, hit in enumerate(outcome.before)}
    table = Table(
        title=f"[bold]{escape(outcome.query)}[/]  [dim]{outcome.locale} · {escape(outcome.kind)}"
        f"{' · held-out family' if outcome.held_out else ''} · {outcome.gateway_ms:.0f} ms[/]",
        title_justify="left",
        caption=_summary(outcome),
        caption_justify="left",
        expand=True,
    )
    table.add_column("OpenSearch alone", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("with CSRM", ratio=1, no_wrap=True, overflow="ellipsis")
    for rank in range(min(_SHOWN, max(len(outcome.before), len(outcome.after)))):
        before = _line(outcome.before[rank], gone) if rank < len(outcome.before) else Text()
        after = Text()
        if rank < len(outcome.after):
            hit = outcome.after[rank]
            after = _line(hit, gone)
            rise = place.get(hit.id, rank) - rank
            if rise > 0:
                after.append(f"  ↑{rise}", style="cyan")
        table.add_row(before, after)
    return table


def figures_table(report: dict[str, Any]) -> Table:
    """The figures of every locale, of all, and of the held-out families."""
    table = Table(title="[bold]Figures[/]", title_justify="left")
    table.add_column("")
    for name in (
        "queries",
        "defect ratio@10",
        "nDCG@10",
        "relevant lost",
        "p50",
        "p95",
        "emptied",
        "not reranked",
    ):
        table.add_column(name, justify="right")
    for locale, figures in report["locales"].items():
        table.add_row(locale, *_cells(figures))
    table.add_section()
    table.add_row("[bold]all[/]", *_cells(report["all"]))
    if report["held_out_families"]:
        table.add_row("held-out families", *_cells(report["held_out_families"]))
    return table


def _cells(figures: dict[str, Any]) -> list[str]:
    ratio, ndcg, latency = figures["defect_ratio_at_10"], figures["ndcg_at_10"], figures["latency_ms"]
    return [
        str(figures["queries"]),
        f"{_percent(ratio['before'])} → [bold]{_percent(ratio['after'])}[/]",
        f"{_decimal(ndcg['before'])} → [bold]{_decimal(ndcg['after'])}[/]",
        _percent(figures["relevant_lost"]),
        f"{latency['p50']:.0f} ms",
        f"{latency['p95']:.0f} ms",
        str(figures["emptied_pages"]),
        str(figures["not_reranked"]),
    ]


def _summary(outcome: Outcome) -> str:
    if not outcome.before:
        return "OpenSearch found nothing"
    if not outcome.reranked:
        return f"[yellow]not reranked: {escape(outcome.status)}[/]"
    counts = {grade: sum(hit.grade == grade for hit in outcome.removed) for grade in _GRADE_STYLE}
    went = ", ".join(f"{count} {grade}" for grade, count in counts.items() if count) or "none"
    before, after = (sum(not hit.relevant for hit in hits[:PAGE]) for hits in (outcome.before, outcome.after))
    return (
        f"{len(outcome.removed)} of {len(outcome.before)} went ({went}); defects among the first {PAGE}: "
        f"{before} of {min(PAGE, len(outcome.before))} → {after} of {min(PAGE, len(outcome.after))}"
    )


def _line(hit: Hit, gone: set[str]) -> Text:
    line = Text(f"{hit.grade} ", style=_GRADE_STYLE[hit.grade])
    line.append(hit.title, style="strike dim" if hit.id in gone else "default")
    return line


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def legend(outcomes: Sequence[Outcome]) -> str:
    """What the marks in the tables mean."""
    families = " Held-out families: products of kinds that no model was trained on."
    return (
        "[dim]E exact, S substitute, C complement, I irrelevant, by the demo's own judgments; C and I are "
        "defects. [strike]Struck out[/]: removed. ↑n: rose n places."
        f"{families if any(outcome.held_out for outcome in outcomes) else ''}[/]"
    )
