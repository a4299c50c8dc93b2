"""``csrm train``: a recipe becomes an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    data: Annotated[
        list[Path],
        typer.Option(help="Folder that the recipe's paths are looked up in; may be given several times."),
    ],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; an interrupted run in it goes on. [runs/NAME]")
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
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from csrm.training.recipe import load_recipe
    from csrm.training.run import train as run_training

    settings = load_recipe(recipe)
    folder = run or Path("runs") / f"{settings.name}-{settings.version}"
    if workers > 1:
        from csrm_cli.ray_training import train_on_workers

        adapter = train_on_workers(settings, folder, data, workers)
        typer.echo(f"Adapter in {adapter}; make a bundle of it with csrm calibrate.")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.completed}/{task.total} loss {task.fields[loss]:.3f} {task.fields[rate]:.0f} tokens/s"
        ),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bars:
        tasks: dict[str, Any] = {}

        def show(step: Any) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.steps, loss=step.loss, rate=0.0)
            bars.update(tasks[step.stage], completed=step.step, loss=step.loss, rate=step.tokens_per_second)

        adapter = run_training(settings, folder, data, on_step=show)
    typer.echo(f"Adapter in {adapter}; make a bundle of it with csrm calibrate.")
