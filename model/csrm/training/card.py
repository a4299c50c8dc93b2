"""The model card of a calibrated bundle: what it is made of, what its rows say of it, and what nobody knows of it.

Knows what was fitted; knows no model and no folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from csrm.bundle import Manifest
from csrm.calibration import fewest_relevant
from csrm.evaluation.calibrating import CalibrationFit
from csrm.evaluation.cascading import CascadeFit


def card(
    manifest: Manifest,
    rows: Sequence[tuple[str, int]],
    fit: CalibrationFit,
    cascade: CascadeFit | None,
    *,
    start: str,
    adapter: str | None,
    max_loss: float,
) -> str:
    """A model card in Markdown.

    Args:
        manifest: of the new bundle.
        rows: name of each file of clean rows, and how many it has.
        fit: on these rows.
        cascade: likewise; null without an early exit.
        start: name of the bundle that knowledge and gains are from.
        adapter: where the adapter is from; null where there is none.
        max_loss: what was promised.
    """
    gains = ", ".join(f"{grade} {manifest.gains[grade]:g}" for grade in ("E", "S", "C", "I"))
    found = [
        f"# {manifest.name}, version {manifest.version}",
        "Written by `csrm calibrate` from what it fitted. Add what only you know: where rows and labels come from, "
        "their licences, what the model is for.",
        f"- base: `{manifest.base}`; its licence applies to what is made of it\n"
        f"- adapter: {adapter or 'none, the bare base'}\n"
        f"- cross-encoder: {_encoder(manifest)}\n"
        f"- knowledge, and gains of the score ({gains}): from {start}\n"
        f"- calibrated in {manifest.calibrated_in}, {_served(manifest)}\n"
        f"- calibration: one of all rows; {', '.join(fit.calibrations) or 'no locale'} has its own\n"
        f"- calibration error: {fit.ece_before:.3f} before; {_error_after(fit)}",
        "## Rows it was calibrated on",
        "\n".join(f"- `{name}`: {count:,}" for name, count in rows),
        "## Thresholds",
        f"The irrelevance above which a product is removed: at most {max_loss:.1%} of the relevant products (E, S) are "
        "lost, with 95 % confidence, where queries and products are drawn as these rows were. A locale without a line "
        "of its own has the threshold of all.",
        _table(
            ("locale", "threshold", "relevant lost", "at most", "irrelevant removed"),
            [
                (
                    place,
                    f"{promise.threshold:.4f}",
                    f"{promise.lost} of {promise.relevant}",
                    f"{promise.bound:.2%}",
                    f"{promise.removed} of {promise.defects}",
                )
                for place, promise in {"all": fit.pooled, **fit.by_locale}.items()
            ],
        ),
    ]
    if fit.pooled.threshold == 1.0:
        found.append(
            f"**Nothing is removed at the threshold of all:** the promise takes at least {fewest_relevant(max_loss)} "
            "relevant rows, and that the surest removals are right."
        )
    if cascade is not None:
        found += ["## Levels", _levels(cascade)]
    return "\n\n".join([*found, "## What it does not know", _unknown(fit)]) + "\n"


def _encoder(manifest: Manifest) -> str:
    if manifest.encoder is None:
        return "none"
    return f"has {manifest.encoder.weight:.0%} of the log odds of what is said in the end"


def _served(manifest: Manifest) -> str:
    if manifest.calibrated_in == "int8":
        return "and served in it where that is fastest"
    return "and never served in int8 unless it is asked for"


def _error_after(fit: CalibrationFit) -> str:
    return (
        "too few queries to tell after"
        if fit.ece_after is None
        else f"{fit.ece_after:.3f} after, on queries left out"
    )


def _levels(cascade: CascadeFit) -> str:
    table = _table(
        ("level", "through all layers", "ROC-AUC E+S against C+I", "relevant lost", "irrelevant removed"),
        [
            (
                level,
                f"{found.all_layers:.0%}",
                f"{found.auc:.3f}",
                f"{found.lost:.1%}",
                f"{found.removed:.1%}",
            )
            for level, found in cascade.levels.items()
        ],
    )
    layer = cascade.exit.layer
    first = f"The early exit is after {layer} layers." if layer else "The cross-encoder judges first."
    return (
        f"{first} The line of balanced is on queries that its rule did "
        f"not see, without the contenders for a page.\n\n{table}"
    )


def _unknown(fit: CalibrationFit) -> str:
    lines = [
        "- Calibration and thresholds were fitted on the rows above: rows that no fit saw say what it is worth "
        "(`csrm evaluate --data`).",
        "- It was not compared with another bundle here (`csrm evaluate --against`), nor measured in a shop.",
    ]
    if not fit.by_locale:
        lines.append(
            "- No locale has enough relevant rows for a promise of its own: in one locale more may be lost."
        )
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
