"""The model card of a calibrated bundle: what it is for, what it is made of, what its rows say of it, and what nobody
knows of it. What only its maker knows is left as lines to fill in.

Knows what was fitted; knows no model and no folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from csrm.bundle import Manifest
from csrm.calibration import Floats, fewest_relevant
from csrm.evaluation.bootstrap import Estimate, clusters, estimates
from csrm.evaluation.by_locale import defects_of, places_of
from csrm.evaluation.calibrating import CalibrationFit
from csrm.evaluation.cascading import CascadeFit
from csrm.evaluation.figures import roc_auc
from csrm.prompt import GRADES
from csrm.training.data import LabelledPair

TO_FILL_IN = "**To fill in:**"
"""How a line begins that nobody can write but who made the bundle."""


def card(
    manifest: Manifest,
    files: Sequence[tuple[str, Sequence[LabelledPair]]],
    irrelevance: Floats,
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
        files: name of each file of clean rows, and its rows.
        irrelevance: of all these rows, as the bundle calibrates it, (n,).
        fit: on these rows.
        cascade: likewise; null without an early exit.
        start: name of the bundle that knowledge and gains are from.
        adapter: where the adapter is from; null where there is none.
        max_loss: what was promised.
    """
    rows = [row for _, part in files for row in part]
    gains = ", ".join(f"{grade} {manifest.gains[grade]:g}" for grade in ("E", "S", "C", "I"))
    found = [
        f"# {manifest.name}, version {manifest.version}",
        f"Written by `csrm calibrate` from what it fitted. Lines that begin with {TO_FILL_IN} ask for what only you "
        "know.",
        f"- base: `{manifest.base}`\n"
        f"- adapter: {adapter or 'none, the bare base'}\n"
        f"- cross-encoder: {_encoder(manifest)}\n"
        f"- knowledge, and gains of the score ({gains}): from {start}\n"
        f"- calibrated in {manifest.calibrated_in}, {_served(manifest)}\n"
        f"- calibration: one of all rows; {', '.join(fit.calibrations) or 'no locale'} has its own",
        "## Intended use",
        _use(rows),
        "## Data and licences",
        _data(manifest, files, start, adapter),
        "## Figures",
        "On the rows above, which calibration and thresholds were fitted on: the area under the ROC curve is not "
        "touched by that, the rest is a little optimistic. In brackets 95 % intervals over queries, at level full.",
        _areas(rows, irrelevance),
        f"Calibration error: {fit.ece_before:.3f} before; {_error_after(fit)}.",
        "### Thresholds",
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
        found += ["### Levels", _levels(cascade)]
    return "\n\n".join([*found, "## Limits", _limits(fit)]) + "\n"


def _use(rows: Sequence[LabelledPair]) -> str:
    locales = ", ".join(sorted({row.locale for row in rows}))
    return (
        "Tells how well a product's title answers a search query in a shop: the probabilities that it is exactly what "
        "was asked (E), a substitute (S), a complement (C) or irrelevant (I). For ordering the products that a search "
        f"has found and removing irrelevant ones, in the locales that it was calibrated in: {locales}. Not for judging "
        "people, nor whether an offer is safe, lawful or true.\n\n"
        f"{TO_FILL_IN} the shop and the markets it was made for, and whom to ask about it."
    )


def _data(
    manifest: Manifest,
    files: Sequence[tuple[str, Sequence[LabelledPair]]],
    start: str,
    adapter: str | None,
) -> str:
    lines = [f"- base `{manifest.base}`: its licence or terms of use apply to whatever is made of it"]
    if manifest.encoder is not None:
        lines.append("- cross-encoder: made of multilingual-e5-small (MIT)")
    lines += [
        f"- knowledge: that of {start}, whose card says where it is from",
        "- calibrated on these rows, none of which may have been trained on:",
    ]
    graders = Counter(row.label_by for _, part in files for row in part)
    judged = ", ".join(f"{name} {count:,}" for name, count in graders.most_common())
    found = [
        "\n".join(lines),
        "\n".join(f"- `{name}`: {len(part):,}" for name, part in files),
        f"Labels by: {judged}.",
        f"{TO_FILL_IN} where these rows are from, how they were drawn, who judged them, and their licence.",
    ]
    if adapter is not None:
        found.append(
            f"{TO_FILL_IN} the rows that the adapter was trained on (named by its recipe, or by the card of the bundle "
            "that it is from), who judged them, and their licences."
        )
    return "\n\n".join(found)


def _areas(rows: Sequence[LabelledPair], irrelevance: Floats) -> str:
    """Rows by grade, and how well relevant ones are told from the others, over all rows and by locale."""
    relevant = ~defects_of(rows)
    places = {"all": np.arange(len(rows)), **places_of(rows)}
    if len(places) == 2:  # one locale is all there is
        del places["all"]
    lines = []
    for name, chosen in places.items():
        own = [rows[i] for i in chosen]
        counts = Counter(row.label for row in own)
        figure = roc_auc(relevant[chosen], -irrelevance[chosen])
        area = _with_interval(estimates({"auc": figure}, clusters(own))["auc"])
        lines.append((name, f"{len(own):,}", *(f"{counts[grade]:,}" for grade in GRADES), area))
    return _table(("locale", "rows", *GRADES, "ROC-AUC E+S against C+I"), lines)


def _with_interval(estimate: Estimate) -> str:
    value, interval = estimate["value"], estimate["ci95"]
    if not isinstance(value, float):
        return "not to be told"
    if not isinstance(interval, list):
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


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
        f"{first} The line of balanced is on queries that its rule did not see; a "
        f"tenth of all rows count as contenders for a page.\n\n{table}"
    )


def _limits(fit: CalibrationFit) -> str:
    lines = [
        "- It sees titles: no pictures, prices or descriptions. Sizes, counts and compatible models are judged weakly "
        "where titles do not say them alike.",
        "- Calibration and thresholds were fitted on the rows above: rows that no fit saw say what it is worth "
        "(`csrm evaluate --data`).",
        "- It was not compared with another bundle here (`csrm evaluate --against`), nor measured in a shop.",
    ]
    if not fit.by_locale:
        lines.append(
            "- No locale has enough relevant rows for a promise of its own: in one locale more may be lost."
        )
    lines.append(
        "- In other locales, and for other kinds of products and queries than those of the rows, nothing is known."
    )
    return "\n".join(lines) + f"\n\n{TO_FILL_IN} what you saw it get wrong."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
