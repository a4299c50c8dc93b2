"""The fusion learns what helps, and is tested on rows that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.fusion import FOLDS, fused
from csrm.errors import InputError

ROWS = 400


def test_a_signal_that_helps_is_used_and_noise_is_not_learnt_by_heart() -> None:
    chance = np.random.default_rng(1)
    is_defect = chance.random(ROWS) < 0.5
    folds = np.arange(ROWS) % FOLDS
    everything = np.ones(ROWS, dtype=np.bool_)
    noise = chance.normal(size=(ROWS, 40))
    assert abs(roc_auc_score(is_defect, fused(noise, is_defect, folds, everything)) - 0.5) < 0.1
    weak, strong = is_defect + chance.normal(size=(2, ROWS)) * np.array([[2.0], [0.7]])
    both = fused(np.column_stack([weak, strong]), is_defect, folds, everything)
    assert roc_auc_score(is_defect, both) > roc_auc_score(is_defect, weak) + 0.1
    assert ((both >= 0) & (both <= 1)).all()


def test_only_the_rows_to_fit_on_are_fitted_on() -> None:
    """The rows of the other half say the contrary: were they looked at, the order would turn."""
    signal = np.linspace(-1, 1, ROWS)
    half = np.arange(ROWS) % 2 == 0
    is_defect = np.where(half, signal > 0, signal < 0)
    said = fused(signal[:, None], is_defect, np.arange(ROWS) // 2 % FOLDS, half)
    assert roc_auc_score(is_defect[half], said[half]) > 0.99
    assert roc_auc_score(is_defect[~half], said[~half]) < 0.01


def test_one_kind_of_rows_is_refused() -> None:
    with pytest.raises(InputError, match="fit: both relevant"):
        fused(np.zeros((10, 1)), np.ones(10, dtype=np.bool_), np.arange(10) % 2, np.ones(10, dtype=np.bool_))
