"""Calibration and the promise of the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from csrm.calibration import Calibration, expected_gain, fit_calibration, fit_threshold
from csrm.errors import InputError


def drawn(n: int, seed: int, slope: float = 2.0, offset: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores and labels of a model whose true calibration is known."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    raw = 1 / (1 + np.exp(-logit))
    true = 1 / (1 + np.exp(-(slope * logit + offset)))
    return raw, rng.random(n) < true


def test_fit_finds_the_true_calibration() -> None:
    fitted = fit_calibration(*drawn(20_000, 1))
    assert fitted.slope == pytest.approx(2.0, abs=0.1)
    assert fitted.offset == pytest.approx(-1.0, abs=0.1)


def test_certain_scores_stay_finite() -> None:
    out = Calibration(slope=3).apply(np.array([0.0, 1.0]))
    assert np.isfinite(out).all()
    assert out[0] < out[1]


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="one kind"):
        fit_calibration(np.array([0.1, 0.2]), np.array([True, True]))


def test_labels_that_contradict_the_model_are_refused() -> None:
    raw, defect = drawn(500, 2)
    with pytest.raises(InputError, match="do not fit"):
        fit_calibration(raw, ~defect)


def test_the_promise_holds_on_new_rows() -> None:
    """At most 2 % of relevant products lost: broken by at most 5 % of the fits (here 200, so at most 20)."""
    population, defect = drawn(200_000, 3)
    relevant = population[~defect]
    broken = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sample = rng.choice(relevant, 400)
        threshold = fit_threshold(sample, np.ones(400, dtype=bool))
        broken += (relevant > threshold).mean() > 0.02
    assert broken <= 20


def test_too_few_rows_promise_nothing() -> None:
    assert fit_threshold(np.linspace(0, 1, 100), np.ones(100, dtype=bool)) == 1.0


def test_expected_gain_orders_by_grade() -> None:
    assert list(expected_gain(np.eye(4, dtype=np.float32), (1.0, 0.1, 0.01, 0.0))) == pytest.approx(
        [1, 0.1, 0.01, 0]
    )
