"""``csrm calibrate``: clean labels become a calibration and a threshold that keeps a promise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    data: Annotated[list[Path], typer.Argument(help="Labelled rows (JSONL) that were never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not exist.")],
    bundle: Annotated[str, typer.Option(help="Bundle to start from: a name or a folder.")] = "default",
    adapter: Annotated[
        Path | None, typer.Option(help="Adapter of a training run, in place of the bundle's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new bundle. [the bundle's]")] = None,
    version: Annotated[
        int | None, typer.Option(help="Version of the new bundle. [the bundle's]", min=1)
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="Largest share of relevant products that may be removed.")
    ] = 0.02,
) -> None:
    """Fit calibration and threshold on clean rows and write a new bundle with them."""
    from csrm.training.bundling import calibrated_bundle

    fitted = calibrated_bundle(
        bundle, data, out, adapter=adapter, name=name, version=version, max_loss=max_loss
    )
    typer.echo(
        f"{fitted.path}: threshold {fitted.manifest.threshold:.4f}, calibration slope "
        f"{fitted.manifest.calibration.slope:.3f} offset {fitted.manifest.calibration.offset:.3f}"
    )
