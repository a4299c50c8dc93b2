"""Entry point of ``csrm``: the list of commands, and one place that turns an error into one sentence."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="CSRM for OpenSearch.")


def run() -> None:
    app()
