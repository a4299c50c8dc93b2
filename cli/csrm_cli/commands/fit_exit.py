"""``csrm fit-exit``: a trained adapter gets the head of an early exit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit_exit(
    adapter: Annotated[Path, typer.Argument(help="Folder of the adapter; the head is written beside it.")],
    data: Annotated[
        list[Path], typer.Option(help="Rows to fit on (JSONL), none of them a dev row; labels do not matter.")
    ],
    layer: Annotated[int, typer.Option(min=1, help="How many layers run before the exit.")],
    bundle: Annotated[
        str,
        typer.Option(
            help="Bundle whose knowledge it is for; its cross-encoder teaches too, if none is beside the adapter."
        ),
    ] = "default",
    rows: Annotated[int, typer.Option(min=100, help="Most rows, drawn at random.")] = 4_000,
) -> None:
    """Fit an early exit to a trained adapter: what the cascade's levels fast and balanced stop at."""
    from csrm.training.run import fit_exit as run

    count = run(adapter, bundle, data, layer, rows)
    typer.echo(
        f"Head after {layer} layers, fitted on {count} rows, in {adapter}; csrm calibrate fits its rule."
    )
