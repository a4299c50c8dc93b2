"""``csrm train``: a recipe becomes an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML), or the name of a shipped one.")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder that the recipe's paths are looked up in; may be given several times. The shipped rows come "
            "after them."
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; an interrupted run in it goes on. \\[runs/NAME-VERSION]"),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Ray workers that train together, each on a GPU of its own where the cluster has them.",
        ),
    ] = 1,
) -> None:
    """Train a LoRA adapter by a recipe; interrupted, the same command goes on where it was."""
    from rich.console import Console

    from csrm.training.recipe import load_recipe
    from csrm.training.run import train as run_training
    from csrm_cli.training_progress import shown

    settings = load_recipe(recipe)
    folder = run or Path("runs") / f"{settings.name}-{settings.version}"
    if workers > 1:
        from csrm_cli.ray_training import train_on_workers

        adapter = train_on_workers(settings, folder, data, workers)
        typer.echo(f"Adapter in {adapter}; make a bundle of it with csrm calibrate.")
        return
    with shown(Console()) as on_step:
        adapter = run_training(settings, folder, data, on_step=on_step)
    typer.echo(f"Adapter in {adapter}; make a bundle of it with csrm calibrate.")
