"""``csrm fit-encoder``: a trained adapter gets a cross-encoder that judges before it, and with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit_encoder(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML), or the name of a shipped one.")],
    adapter: Annotated[Path, typer.Argument(help="Folder of the adapter; the encoder is written beside it.")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder that the recipe's paths are looked up in; may be given several times. The shipped rows come "
            "after them."
        ),
    ],
    run: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it goes on.")] = Path(
        "runs/encoder"
    ),
) -> None:
    """Train a small cross-encoder: the cascade's first judge, and a second voice in its last word."""
    from rich.console import Console

    from csrm.training.encoding import fit_encoder as fit
    from csrm.training.recipe import EncoderRecipe, load_recipe
    from csrm_cli.training_progress import shown

    settings = load_recipe(recipe, EncoderRecipe)
    with shown(Console()) as on_step:
        file = fit(settings, adapter, data, run, on_step=on_step)
    typer.echo(f"Encoder in {file}; make a bundle of it with csrm calibrate.")
