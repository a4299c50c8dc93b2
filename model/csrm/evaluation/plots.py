"""Two plots of an evaluation, as PNG: what filtering costs and brings, and whether a probability means what it says.

Knows scores and labels; knows no model and no screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csrm.errors import InputError, MissingExtraError
from csrm.evaluation.figures import BINS, bin_of
from csrm.evaluation.report import LOSS, parts
from csrm.evaluation.run import Scored

try:
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve
except ImportError as error:
    raise MissingExtraError(error.name or "matplotlib", "train") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from csrm.training.data import LabelledPair

_NEAR = 0.1
"""Share of relevant products lost up to which the second half of the curve's plot goes."""


def save_plots(
    folder: Path, files: Mapping[Path, Sequence[LabelledPair]], scorers: Sequence[Scored]
) -> list[Path]:
    """Draw both plots.

    Args:
        folder: made if there is none.
        files: rows by file.
        scorers: of all rows, in the files' order; the first also by file, or by locale where there is one file.

    Returns:
        ``removed_against_lost.png``: the share of defects removed for each share of relevant products lost, and the
        part of small losses again; and ``reliability.png``, where a scorer gives a probability: for each bin of
        P(C or I), the share that is C or I.

    Raises:
        InputError: ``folder`` is a file, or all rows are of one kind.
    """
    rows = [row for part in files.values() for row in part]
    relevant = np.array([row.label in "ES" for row in rows])
    if relevant.all() or not relevant.any():
        raise InputError(
            "plots: the rows are all relevant (E, S) or all irrelevant (C, I); there is no curve."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"plots: {folder} is a file; give a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / "removed_against_lost.png"]
    _curve(relevant, parts(files)["files" if len(files) > 1 else "locales"], scorers).savefig(
        made[0], dpi=150
    )
    if any(scorer.scores.probable for scorer in scorers):
        made.append(folder / "reliability.png")
        _reliability(relevant, scorers).savefig(made[1], dpi=150)
    return made


def _curve(
    relevant: NDArray[np.bool_], groups: dict[str, NDArray[np.intp]], scorers: Sequence[Scored]
) -> Figure:
    figure = Figure(figsize=(11, 5), layout="constrained")
    whole, near = figure.subplots(1, 2)
    every = np.arange(len(relevant))
    for scorer in scorers:
        named = {scorer.name: every} | (groups if scorer is scorers[0] and len(groups) > 1 else {})
        for name, places in named.items():
            if relevant[places].all() or not relevant[places].any():
                continue
            lost, removed, _ = roc_curve(~relevant[places], scorer.scores.irrelevance[places])
            for axes in (whole, near):
                axes.plot(lost, removed, label=name, linewidth=2 if places is every else 0.9)
    for axes, most in ((whole, 1.0), (near, _NEAR)):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="by chance")
        axes.axvline(LOSS, color="grey", linewidth=0.8, label=f"{LOSS:.0%} lost")
        axes.set(xlabel="share of relevant products lost", xlim=(0, most), ylim=(0, 1))
    whole.set(ylabel="share of defects removed")
    whole.legend(fontsize="small")
    return figure


def _reliability(relevant: NDArray[np.bool_], scorers: Sequence[Scored]) -> Figure:
    figure = Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="grey", linestyle=":", label="means what it says")
    for scorer in scorers:
        if not scorer.scores.probable:
            continue
        said = scorer.scores.irrelevance
        places = bin_of(said)
        counts = np.bincount(places, minlength=BINS)
        filled = counts > 0
        mean = np.bincount(places, said, BINS)[filled] / counts[filled]
        true = np.bincount(places, ~relevant, BINS)[filled] / counts[filled]
        above.plot(mean, true, marker="o", label=scorer.name)
        below.stairs(counts, np.linspace(0, 1, BINS + 1))
    above.set(ylabel="share that is C or I", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="P(C or I) as the model says it", ylabel="rows")
    above.legend(fontsize="small")
    return figure
