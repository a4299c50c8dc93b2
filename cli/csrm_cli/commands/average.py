"""``csrm average``: several adapters of one base become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def average(
    out: Annotated[Path, typer.Argument(help="Folder of the new adapter; must not exist.")],
    adapters: Annotated[
        list[str], typer.Argument(help="Adapter folders with their weights, each FOLDER=WEIGHT.")
    ],
    rank: Annotated[int, typer.Option(min=1, help="Rank of the new adapter.")] = 32,
) -> None:
    """Average LoRA adapters, and the cross-encoders beside them: models tuned on different data are often better
    together than each alone."""
    from csrm.errors import InputError
    from csrm.training.averaging import average as run

    weights: dict[Path, float] = {}
    for entry in adapters:
        folder, _, weight = entry.rpartition("=")
        try:
            weights[Path(folder)] = float(weight)
        except ValueError as error:
            raise InputError(f"{entry}: write FOLDER=WEIGHT, such as runs/a/adapter=0.5.") from error
    lost = run(weights, out, rank=rank)
    typer.echo(f"Adapter in {out}; rank {rank} lost at most {lost:.1%} of a matrix's squared change.")
