"""``csrm base``: make the base weights ready, once a machine."""

from __future__ import annotations

from typing import Annotated

import typer


def base(
    name: Annotated[
        str | None,
        typer.Argument(help="Default base, a folder or a hub id; that of the default bundle if not given."),
    ] = None,
) -> None:
    """Unpack or check the base weights, so that the first start of a server is quick."""
    from rich.console import Console

    from csrm.bundle import load_bundle
    from csrm.scoring.base import prepare_base

    console = Console(stderr=True)
    with console.status("Looking for the base weights") as status:
        where = prepare_base(name or load_bundle().manifest.base, progress=status.update)
    typer.echo(where)
