"""From an adapter and clean rows to a bundle: calibration, threshold, manifest.

Knows how a bundle is put together; knows no training loop.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from csrm.bundle import Bundle, Manifest, load_bundle
from csrm.errors import InputError
from csrm.evaluation.calibrating import CalibrationFit, calibrate_rows
from csrm.evaluation.grading import bundle_knowledge, grade_rows
from csrm.model import RelevanceModel
from csrm.training.data import read_pairs


def calibrated_bundle(
    bundle: str | Path,
    data: Sequence[Path],
    out: Path,
    *,
    adapter: Path | None = None,
    name: str | None = None,
    version: int | None = None,
    max_loss: float = 0.02,
    on_fit: Callable[[CalibrationFit], None] | None = None,
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
        on_fit: called with what was fitted, once the bundle stands.

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
        fit = calibrate_rows(
            rows,
            grades[:, 2:].sum(axis=1, dtype=np.float64),
            before=old.manifest.calibration,
            max_loss=max_loss,
        )
        manifest = Manifest.model_validate(
            old.manifest.model_dump()
            | {
                "name": name or old.manifest.name,
                "version": version or old.manifest.version,
                "calibration": fit.calibration.model_dump(),
                "threshold": fit.pooled.threshold,
                "thresholds": {locale: promise.threshold for locale, promise in fit.by_locale.items()},
            }
        )
        (work / "bundle.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if on_fit:
        on_fit(fit)
    return load_bundle(out)
