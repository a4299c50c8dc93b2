"""From an adapter and clean rows to a bundle: calibration, threshold, the early exit's rule, reference rows,
manifest, model card.

Knows how a bundle is put together; knows no training loop.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from csrm.bundle import (
    CARD_FILE,
    ENCODER_FILE,
    EXIT_FILE,
    MANIFEST_FILE,
    Bundle,
    EarlyExit,
    EncoderPart,
    Manifest,
    load_bundle,
)
from csrm.errors import BundleError, InputError
from csrm.evaluation.calibrating import CalibrationFit, calibrate_rows
from csrm.evaluation.cascading import CascadeFit, fit_cascade
from csrm.evaluation.grading import bundle_knowledge, grade_rows
from csrm.evaluation.scores import Scores
from csrm.model import RelevanceModel
from csrm.reference import reference_rows
from csrm.training.asked import encoder_for, manifest_for
from csrm.training.card import card
from csrm.training.data import read_pairs, refuse_one_kind


def calibrated_bundle(
    bundle: str | Path,
    data: Sequence[Path],
    out: Path,
    *,
    adapter: Path | None = None,
    name: str | None = None,
    version: int | None = None,
    weight: float | None = None,
    max_loss: float = 0.02,
    precision: str = "auto",
    on_fit: Callable[[CalibrationFit, CascadeFit | None], None] | None = None,
) -> Bundle:
    """Write a copy of a bundle with calibration and thresholds fitted on clean rows.

    A locale with enough rows gets a calibration and a threshold of its own (``csrm.evaluation.by_locale``); the others
    keep to the pooled ones, whose promise holds for the mix of locales in the rows. An early exit gets calibrations and
    a threshold of its own, and the rule of who goes on (``csrm.cascade.fit_rule``). What the model says of a few
    products is written beside it, so that nobody loads the bundle with other weights unawares (``csrm.reference``). The
    model card tells of this fit (``csrm.training.card``); that of the old bundle stays with the old bundle, whose
    figures it has.

    Args:
        bundle: to start from: its knowledge and gains and, where ``adapter`` is null, all the rest.
        data: files of labelled rows that were never trained on.
        out: folder of the new bundle; must not exist, appears whole or not at all.
        adapter: folder of a trained adapter, with the head of its early exit if there is one, and a cross-encoder if
            there is one, which judges early where no head does. Base, prompt and limits are those of its recipe
            (``csrm.training.asked``).
        name: of the new bundle; the recipe's where null, or the old bundle's without a recipe.
        version: of the new bundle, likewise.
        weight: of the cross-encoder in the log odds of the last word, from 0 to less than 1; as it was trained, or as
            in the old bundle, where null.
        max_loss: largest share of relevant products the threshold may remove, with 95 % confidence.
        precision: of the weights whose grades are fitted on; ``auto`` as the bundle to start from is served. A bundle
            that was calibrated in ``int8`` is served in it where that is fastest.
        on_fit: called with what was fitted, once the bundle stands; of the cascade only where there is an exit.

    Raises:
        InputError: ``out`` exists, a row is wrong, or all rows are of one kind, which is told before any is graded.
        BundleError: the bundle or the adapter does not fit.
    """
    if out.exists():
        raise InputError(f"{out} exists already: choose a new folder.")
    files = [(path, read_pairs(path)) for path in data]
    rows = [row for _, part in files for row in part]
    refuse_one_kind(", ".join(map(str, data)), rows)
    old = load_bundle(bundle)
    start = old.manifest if adapter is None else manifest_for(adapter, old.manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".bundle-", dir=out.parent))
    try:
        shutil.copytree(old.path, work, dirs_exist_ok=True)
        (work / CARD_FILE).unlink(missing_ok=True)
        early_exit, encoder = start.exit, start.encoder
        if adapter is not None:
            early_exit, encoder = _put_adapter(adapter, work, old)
        if weight is not None:
            if encoder is None:
                raise InputError("weight: this bundle has no cross-encoder that could have one.")
            encoder = EncoderPart(weight=weight)
        # whether a new adapter bears 8 bits nobody knows yet: it is asked for
        calibrated_in = start.calibrated_in if adapter is None else None
        parts = {"exit": early_exit, "encoder": encoder}
        fresh = start.model_copy(update={**parts, "reference": [], "calibrated_in": calibrated_in})
        (work / MANIFEST_FILE).write_text(fresh.model_dump_json(), encoding="utf-8")
        reference = reference_rows(RelevanceModel.load(work, precision="fp32"))
        model = RelevanceModel.load(work, precision=precision)
        if precision not in ("auto", model.precision):
            raise InputError(f"precision: {precision} cannot be calibrated in here: {model.warning}.")
        knowledge = bundle_knowledge(model.bundle)
        grades = grade_rows(model, rows, knowledge)
        defect = grades[:, 2:].sum(axis=1, dtype=np.float64)
        before = Scores.of_grades(grades, rows, model.bundle).irrelevance
        fit = calibrate_rows(rows, defect, before=before, max_loss=max_loss)
        fitted = fresh.model_copy(
            update={
                "calibration": fit.calibration,
                "calibrations": fit.calibrations,
                "threshold": fit.pooled.threshold,
                "thresholds": {locale: promise.threshold for locale, promise in fit.by_locale.items()},
            }
        )
        served = Scores.of_grades(grades, rows, Bundle(work, fitted))
        assert served.thresholds is not None  # a bundle has some
        cascade = None
        if early_exit is not None:
            if model.level() == "full":
                raise BundleError(
                    "exit: the engine of this base has no early exit; take it out of the manifest."
                )
            cascade = fit_cascade(
                rows,
                grade_rows(model, rows, knowledge, level="fast")[:, 2:].sum(axis=1, dtype=np.float64),
                served.irrelevance,
                served.thresholds,
                before=early_exit,
                apart=fit.calibrations,
                max_loss=max_loss,
            )
            early_exit = cascade.exit
        manifest = Manifest.model_validate(
            fitted.model_dump()
            | {
                "name": name or start.name,
                "version": version or start.version,
                "exit": early_exit.model_dump() if early_exit else None,
                "reference": reference,
                "calibrated_in": model.precision,
            }
        )
        (work / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        own = f"of {old.name}" if old.adapter_path else None
        told = card(
            manifest,
            [(path.name, part) for path, part in files],
            served.irrelevance,
            fit,
            cascade,
            start=old.name,
            adapter=own if adapter is None else f"of a training ({start.name}@{start.version})",
            max_loss=max_loss,
        )
        (work / CARD_FILE).write_text(told, encoding="utf-8")
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if on_fit:
        on_fit(fit, cascade)
    return load_bundle(out)


def _put_adapter(adapter: Path, work: Path, old: Bundle) -> tuple[EarlyExit | None, EncoderPart | None]:
    """Put an adapter into a copy of a bundle, and what stands beside it: the head of an early exit, a cross-encoder.

    The old head goes, which fits the old adapter only; the old cross-encoder stays where no other one comes. Without a
    head it judges early.
    """
    from csrm.scoring.exit import layer_of

    shutil.rmtree(work / "adapter", ignore_errors=True)
    (work / EXIT_FILE).unlink(missing_ok=True)
    (work / "adapter").mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / file, work / "adapter" / file)
    before, encoder = old.manifest.exit, None
    if found := encoder_for(adapter, old):
        path, encoder = found
        shutil.copy(path, work / ENCODER_FILE)
    if not (adapter / EXIT_FILE).is_file():
        if encoder is None:
            return None, None
        return before if before is not None and before.layer == 0 else EarlyExit(layer=0), encoder
    shutil.copy(adapter / EXIT_FILE, work / EXIT_FILE)
    layer = layer_of(work / EXIT_FILE) or (before.layer if before else None)
    if not layer:
        raise BundleError(
            f"{adapter / EXIT_FILE} does not say its layer: name exit.layer in the bundle's manifest."
        )
    return EarlyExit(layer=layer), encoder
