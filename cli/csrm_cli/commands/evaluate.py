"""``csrm evaluate``: figures of a bundle, or of what a user would pick instead, on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from csrm.wire import Level, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csrm.evaluation.run import Scored
    from csrm.evaluation.scorers import Scorer
    from csrm.training.data import LabelledPair

Told = Literal["none", "bundle", "wrong"]


def evaluate(
    data: Annotated[list[Path], typer.Option(help="Labelled rows (JSONL); may be given several times.")],
    bundle: Annotated[str, typer.Option(help="Name or folder of a bundle.")] = "default",
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Measure this in place of the bundle: overlap, embedding, zero-shot (the bundle's base and prompt "
            "without adapter), another bundle, or a folder or hub id of a cross-encoder or a yes/no reranker."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Also measure this scorer, and show the difference with its interval.")
    ] = None,
    knowledge: Annotated[
        Told,
        typer.Option(
            help="What the model is told of each query: what the bundle says, as in serving (bundle), what it "
            "says of another query (wrong), or nothing (none)."
        ),
    ] = "bundle",
    level: Annotated[
        Level,
        typer.Option(
            help="How deep the bundle judges, for a bundle with an early exit; what it is set --against judges at full."
        ),
    ] = "full",
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of the model's weights, as in csrm serve; what it is set --against takes auto."
        ),
    ] = "auto",
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for two plots: defects removed against relevant lost, and reliability."),
    ] = None,
) -> None:
    """Measure a bundle on labelled pairs: how well it tells grades apart, and what its thresholds do."""
    import json

    from rich.console import Console

    from csrm.errors import InputError
    from csrm.evaluation.run import read_files, results
    from csrm.evaluation.scorers import load_scorer
    from csrm_cli.evaluation_tables import difference_table, report_table

    if json_out is not None and not json_out.parent.is_dir():  # before an hour of scoring
        raise InputError(f"--json {json_out}: the folder {json_out.parent} does not exist.")
    files = read_files(data)
    rows = [row for part in files.values() for row in part]
    one = _scored(
        load_scorer(scorer or bundle, bundle=bundle, knowledge=knowledge, level=level, precision=precision),
        rows,
    )
    other = None
    if against is not None:
        other = _scored(load_scorer(against, bundle=bundle, knowledge=knowledge), rows)
    result = results(files, one, other)
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(report_table(result))
    if other is not None:
        console.print(report_table(result["against"]))
        console.print(difference_table(result))
    if json_out is not None:
        partial = json_out.with_name(f".{json_out.name}.part")
        try:
            partial.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(json_out)
        finally:
            partial.unlink(missing_ok=True)
    if plots is not None:
        from csrm.evaluation.plots import save_plots

        for path in save_plots(plots, files, [one] if other is None else [one, other]):
            typer.echo(path)


def _scored(scorer: Scorer, rows: Sequence[LabelledPair]) -> Scored:
    """The scorer's numbers, with a bar while it works."""
    from rich.console import Console
    from rich.progress import Progress

    from csrm.evaluation.run import scored

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(scorer.name, total=len(rows))
        return scored(scorer, rows, lambda count: bar.advance(task, count))
