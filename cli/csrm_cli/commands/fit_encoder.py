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
    from csrm.training.encoding import EncoderRecipe, Step, fit_encoder
    from csrm.training.recipe import load_recipe

    def shown(at: Step) -> None:
        if at.step % 20 == 0 or at.step == at.steps:
            typer.echo(
                f"step {at.step} of {at.steps}, loss {at.loss:.3f}, {at.tokens_per_s:,.0f} tokens/s, "
                f"{at.seconds_left / 60:.0f} min left"
            )

    file = fit_encoder(load_recipe(recipe, EncoderRecipe), adapter, data, run, on_step=shown)
    typer.echo(f"Encoder in {file}; make a bundle of it with csrm calibrate.")
