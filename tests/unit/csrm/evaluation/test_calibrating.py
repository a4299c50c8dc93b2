"""What calibration rows say of the calibration and the thresholds fitted on them."""

from __future__ import annotations

import numpy as np
import pytest

from csrm.calibration import fewest_relevant, logit, loss_bound
from csrm.errors import InputError
from csrm.evaluation.by_locale import ENOUGH_DEFECTS, ENOUGH_RELEVANT
from csrm.evaluation.calibrating import calibrate_rows
from csrm.evaluation.figures import calibration_error
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
    fit = calibrate_rows(rows, defect, before=defect)
    assert fit.calibration.slope == pytest.approx(1 / 3, abs=0.06)
    assert fit.ece_before > 0.1
    assert fit.ece_after is not None
    assert fit.ece_after < fit.ece_before / 3
    again = calibrate_rows(rows, defect, before=fit.calibration.apply(defect))
    assert again.ece_before < 0.04


def test_a_promise_tells_what_it_costs_and_brings() -> None:
    rows, defect = drawn(1_500, 2)
    fit = calibrate_rows(rows, defect, before=defect, max_loss=0.05)
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
    defect = np.concatenate([many[1], few[1]])
    fit = calibrate_rows(many[0] + few[0], defect, before=defect)
    assert set(fit.by_locale) == {"ja"}
    assert fit.by_locale["ja"].relevant >= ENOUGH_RELEVANT


def shifted(rows: list[LabelledPair], defect: np.ndarray, by: float) -> tuple[list[LabelledPair], np.ndarray]:
    """The same rows of a model whose log odds are all off by as much."""
    return rows, 1 / (1 + np.exp(-(logit(defect) + by)))


def test_a_locale_with_a_shift_of_its_own_is_put_right_and_a_small_one_is_as_all_are() -> None:
    en, ja, ko = drawn(3_000, 11, "en"), shifted(*drawn(1_500, 12, "ja"), by=4.0), drawn(300, 13, "ko")
    rows = en[0] + ja[0] + ko[0]
    defect = np.concatenate([en[1], ja[1], ko[1]])
    fit = calibrate_rows(rows, defect, before=defect)
    assert set(fit.calibrations) == set(fit.by_locale) == {"en", "ja"}
    # The model says three times the true log odds, in ja four more.
    for locale, offset in (("en", 0.0), ("ja", -4 / 3)):
        assert fit.calibrations[locale].slope == pytest.approx(1 / 3, abs=0.06)
        assert fit.calibrations[locale].offset == pytest.approx(offset, abs=0.2)
    is_defect = np.array([row.label in "CI" for row in ja[0]])
    own, pooled = (
        calibration_error(is_defect, by.apply(ja[1])).value
        for by in (fit.calibrations["ja"], fit.calibration)
    )
    assert own is not None and pooled is not None
    assert own < 0.04 < 0.1 < pooled
    assert fit.ece_after is not None and fit.ece_after < 0.04
    removed = fit.calibrations["ja"].apply(ja[1]) > fit.by_locale["ja"].threshold
    assert fit.by_locale["ja"].removed == (removed & is_defect).sum() > 0


def test_a_locale_without_enough_irrelevant_rows_has_a_threshold_only() -> None:
    en, ja = drawn(1_500, 14, "en"), drawn(3_000, 15, "ja")
    kept = [i for i, row in enumerate(ja[0]) if row.label in "ES"]
    kept += [i for i, row in enumerate(ja[0]) if row.label in "CI"][: ENOUGH_DEFECTS - 1]
    rows, defect = en[0] + [ja[0][i] for i in kept], np.concatenate([en[1], ja[1][kept]])
    fit = calibrate_rows(rows, defect, before=defect)
    assert (set(fit.calibrations), set(fit.by_locale)) == ({"en"}, {"en", "ja"})


def test_a_locale_whose_labels_contradict_the_scores_is_as_all_are() -> None:
    en, ja = drawn(4_000, 16, "en"), drawn(1_500, 17, "ja")
    rows, defect = en[0] + ja[0], np.concatenate([en[1], 1 - ja[1]])
    fit = calibrate_rows(rows, defect, before=defect)
    assert set(fit.calibrations) == {"en"}


def test_the_fewest_rows_that_can_promise() -> None:
    assert fewest_relevant(0.02) == 149
    assert loss_bound(0, 149) <= 0.02 < loss_bound(0, 148)
    rows, defect = drawn(160, 5)
    fit = calibrate_rows(rows, defect, before=defect)
    assert fit.pooled.relevant < 149
    assert (fit.pooled.threshold, fit.pooled.removed, fit.pooled.bound) == (1.0, 0, 0.0)


def test_too_few_queries_have_no_error_on_queries_left_out() -> None:
    rows, defect = drawn(400, 6)
    one = [row.model_copy(update={"query": "q"}) for row in rows]
    assert calibrate_rows(one, defect, before=defect).ece_after is None
    alone = ["I"] + ["E"] * 9
    rows = [LabelledPair(query=f"q{i}", title="t", label=label, locale="en") for i, label in enumerate(alone)]
    defect = np.array([0.9] + [0.1] * 9)
    fit = calibrate_rows(rows, defect, before=defect)
    assert fit.ece_after is None  # without its one defect a fold has one kind of rows


def test_one_kind_of_rows_is_refused() -> None:
    rows, defect = drawn(50, 7)
    with pytest.raises(InputError, match="one kind"):
        calibrate_rows([row.model_copy(update={"label": "E"}) for row in rows], defect, before=defect)
