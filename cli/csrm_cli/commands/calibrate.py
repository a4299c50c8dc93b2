"""``csrm calibrate``: clean labels become a calibration and a threshold that keeps a promise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csrm.wire import Precision


def calibrate(
    data: Annotated[list[Path], typer.Argument(help="Labelled rows (JSONL) that were never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not exist.")],
    bundle: Annotated[str, typer.Option(help="Bundle to start from: a name or a folder.")] = "default",
    adapter: Annotated[
        Path | None, typer.Option(help="Adapter of a training run, in place of the bundle's.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the new bundle; else that of the adapter's recipe, or the bundle's."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Version of the new bundle, likewise.", min=1)] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            help="Share of the cross-encoder in the last word's log odds; else as it was trained.",
            min=0,
            max=0.95,
        ),
    ] = None,
    max_loss: Annotated[
        float,
        typer.Option(
            help="Largest share of relevant products that may be removed, with 95 % confidence.",
            min=0.001,
            max=0.5,
        ),
    ] = 0.02,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of the weights: fp32, bf16, int8, or auto, as the bundle is served; with --adapter "
            "auto is never int8. A bundle calibrated in int8 is served in it where that is fastest."
        ),
    ] = "auto",
) -> None:
    """Fit calibration and threshold on clean rows and write a new bundle with them."""
    from rich.console import Console
    from rich.table import Table

    from csrm.calibration import fewest_relevant
    from csrm.evaluation.calibrating import CalibrationFit
    from csrm.evaluation.cascading import CascadeFit
    from csrm.training.bundling import calibrated_bundle

    fits: list[tuple[CalibrationFit, CascadeFit | None]] = []
    made = calibrated_bundle(
        bundle,
        data,
        out,
        adapter=adapter,
        name=name,
        version=version,
        weight=weight,
        max_loss=max_loss,
        precision=precision,
        on_fit=lambda fit, cascade: fits.append((fit, cascade)),
    )
    ((fit, cascade),) = fits
    after = "too few queries to tell" if fit.ece_after is None else f"{fit.ece_after:.3f} on queries left out"
    table = Table(
        *(
            "",
            "calibration",
            "threshold",
            "relevant lost",
            "at most, with 95 % confidence",
            "defects removed",
        ),
        title=f"{made.name} · in {made.manifest.calibrated_in} · calibration error {fit.ece_before:.3f} → {after}",
    )
    for place, promise in {"all": fit.pooled, **fit.by_locale}.items():
        table.add_row(
            place,
            "its own" if place in fit.calibrations else "of all",
            f"{promise.threshold:.4f}",
            f"{promise.lost} of {promise.relevant}",
            f"{promise.bound:.2%}",
            f"{promise.removed} of {promise.defects}",
        )
    Console().print(table)
    if cascade is not None:
        first = f"after {cascade.exit.layer} layers" if cascade.exit.layer else "by the cross-encoder first"
        levels = Table(
            *("level", "through all layers", "ROC-AUC", "relevant lost", "defects removed"),
            title=f"{first} · balanced on queries left out",
        )
        for level, found in cascade.levels.items():
            shares = (f"{share:.1%}" for share in (found.lost, found.removed))
            levels.add_row(level, f"{found.all_layers:.0%}", f"{found.auc:.3f}", *shares)
        Console().print(levels)
    if fit.pooled.threshold == 1.0:
        typer.echo(
            f"Nothing will be removed: a promise of {max_loss:.1%} takes at least {fewest_relevant(max_loss)} relevant "
            f"rows (E, S), and there are {fit.pooled.relevant}. Judge more rows, or allow more with --max-loss."
        )
    typer.echo(made.path)
