"""What calibration rows say of the calibration and the thresholds fitted on them."""

from __future__ import annotations

import numpy as np
import pytest

from csrm.calibration import Calibration, fewest_relevant, loss_bound
from csrm.errors import InputError
from csrm.evaluation.calibrating import ENOUGH_RELEVANT, calibrate_rows
from csrm.training.data import LabelledPair


def drawn(n: int, seed: int, locale: str = "en") -> tuple[list[LabelledPair], np.ndarray]:
    """Rows, and what an overconfident model says of them."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.5, n)
    defect = rng.random(n) < 1 / (1 + np.exp(-odds))
    rows = [
        LabelledPair(
            query=f"q{i // 2}", title=f"t{i}", label="CI"[i % 2] if bad else "ES"[i % 2], locale=locale
        )
        for i, bad in enumerate(defect)
    ]
    return rows, 1 / (1 + np.exp(-3 * odds))


def test_an_overconfident_model_is_mended_on_queries_left_out_too() -> None:
    rows, defect = drawn(1_500, 1)
    fit = calibrate_rows(rows, defect, before=Calibration())
    assert fit.calibration.slope == pytest.approx(1 / 3, abs=0.06)
    assert fit.ece_before > 0.1
    assert fit.ece_after is not None
    assert fit.ece_after < fit.ece_before / 3
    again = calibrate_rows(rows, defect, before=fit.calibration)
    assert again.ece_before < 0.04


def test_a_promise_tells_what_it_costs_and_brings() -> None:
    rows, defect = drawn(1_500, 2)
    fit = calibrate_rows(rows, defect, before=Calibration(), max_loss=0.05)
    pooled = fit.pooled
    assert pooled.relevant + pooled.defects == 1_500
    removed = fit.calibration.apply(defect) > pooled.threshold
    relevant = np.array([row.label in "ES" for row in rows])
    assert (pooled.lost, pooled.removed) == ((removed & relevant).sum(), (removed & ~relevant).sum())
    assert pooled.removed > 0
    assert pooled.bound == loss_bound(pooled.lost, pooled.relevant) <= 0.05
    assert loss_bound(pooled.lost + 1, pooled.relevant) > 0.05  # one more would break it


def test_a_locale_with_enough_rows_has_its_own_promise() -> None:
    many, few = drawn(1_500, 3, "ja"), drawn(300, 4, "ko")
    fit = calibrate_rows(many[0] + few[0], np.concatenate([many[1], few[1]]), before=Calibration())
    assert set(fit.by_locale) == {"ja"}
    assert fit.by_locale["ja"].relevant >= ENOUGH_RELEVANT


def test_the_fewest_rows_that_can_promise() -> None:
    assert fewest_relevant(0.02) == 149
    assert loss_bound(0, 149) <= 0.02 < loss_bound(0, 148)
    rows, defect = drawn(160, 5)
    fit = calibrate_rows(rows, defect, before=Calibration())
    assert fit.pooled.relevant < 149
    assert (fit.pooled.threshold, fit.pooled.removed, fit.pooled.bound) == (1.0, 0, 0.0)


def test_too_few_queries_have_no_error_on_queries_left_out() -> None:
    rows, defect = drawn(400, 6)
    one = [row.model_copy(update={"query": "q"}) for row in rows]
    assert calibrate_rows(one, defect, before=Calibration()).ece_after is None
    alone = ["I"] + ["E"] * 9
    rows = [LabelledPair(query=f"q{i}", title="t", label=label, locale="en") for i, label in enumerate(alone)]
    fit = calibrate_rows(rows, np.array([0.9] + [0.1] * 9), before=Calibration())
    assert fit.ece_after is None  # without its one defect a fold has one kind of rows


def test_one_kind_of_rows_is_refused() -> None:
    rows, defect = drawn(50, 7)
    with pytest.raises(InputError, match="one kind"):
        calibrate_rows([row.model_copy(update={"label": "E"}) for row in rows], defect, before=Calibration())
