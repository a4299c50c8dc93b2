"""From an adapter and clean rows to a bundle: calibration, threshold, manifest.

Knows how a bundle is put together; knows no training loop.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import Bundle, Manifest, load_bundle
from csrm.calibration import fit_calibration, fit_threshold
from csrm.errors import InputError
from csrm.evaluation.grading import bundle_knowledge, grade_rows
from csrm.model import RelevanceModel
from csrm.training.data import LabelledPair, read_pairs

ENOUGH_RELEVANT = 500
"""Relevant rows from which a locale gets a threshold of its own. With 200, the promise of 2 % allows no more than
one lost row, and the bound, not the model, decides how little is removed."""


def calibrated_bundle(
    bundle: str | Path,
    data: Sequence[Path],
    out: Path,
    *,
    adapter: Path | None = None,
    name: str | None = None,
    version: int | None = None,
    max_loss: float = 0.02,
) -> Bundle:
    """Write a copy of a bundle with calibration and thresholds fitted on clean rows.

    A locale with enough rows gets a threshold of its own; the others keep to the pooled one, whose promise holds
    for the mix of locales in the rows.

    Args:
        bundle: to start from: its prompt, base, knowledge and, where ``adapter`` is null, its adapter.
        data: files of labelled rows that were never trained on.
        out: folder of the new bundle; must not exist, appears whole or not at all.
        adapter: folder of a trained adapter.
        name: of the new bundle; the old one's where null.
        version: of the new bundle; the old one's where null.
        max_loss: largest share of relevant products the threshold may remove, with 95 % confidence.

    Raises:
        InputError: ``out`` exists, a row is wrong, or all rows are of one class.
        BundleError: the bundle or the adapter does not fit.
    """
    if out.exists():
        raise InputError(f"{out} exists already: choose a new folder.")
    rows = [row for path in data for row in read_pairs(path)]
    old = load_bundle(bundle)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".bundle-", dir=out.parent))
    try:
        shutil.copytree(old.path, work, dirs_exist_ok=True)
        if adapter is not None:
            shutil.rmtree(work / "adapter", ignore_errors=True)
            (work / "adapter").mkdir()
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copy(adapter / file, work / "adapter" / file)
        model = RelevanceModel.load(work)
        grades = grade_rows(model, rows, bundle_knowledge(model.bundle))
        defect = grades[:, 2:].sum(axis=1, dtype=np.float64)
        is_defect = np.array([row.label in "CI" for row in rows])
        calibration = fit_calibration(defect, is_defect)
        irrelevance = calibration.apply(defect)
        threshold = fit_threshold(irrelevance, ~is_defect, max_loss=max_loss)
        manifest = Manifest.model_validate(
            old.manifest.model_dump()
            | {
                "name": name or old.manifest.name,
                "version": version or old.manifest.version,
                "calibration": calibration.model_dump(),
                "threshold": round(threshold, 6),
                "thresholds": _by_locale(rows, irrelevance, is_defect, max_loss),
            }
        )
        (work / "bundle.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load_bundle(out)


def _by_locale(
    rows: Sequence[LabelledPair],
    irrelevance: NDArray[np.float64],
    is_defect: NDArray[np.bool_],
    max_loss: float,
) -> dict[str, float]:
    thresholds = {}
    for locale in sorted({row.locale for row in rows}):
        own = np.array([row.locale == locale for row in rows])
        if (own & ~is_defect).sum() >= ENOUGH_RELEVANT:
            threshold = fit_threshold(irrelevance[own], ~is_defect[own], max_loss=max_loss)
            thresholds[locale] = round(threshold, 6)
    return thresholds
