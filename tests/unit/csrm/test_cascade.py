"""The cascade's rule: who goes on, and what a fitted rule promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from csrm.calibration import logit
from csrm.cascade import MORE_LOST, MOVES, ExitRule, fit_rule
from csrm.errors import InputError


def test_near_the_threshold_or_a_contender_for_the_page() -> None:
    irrelevance = np.array([0.01, 0.02, 0.45, 0.55, 0.97, 0.99])
    scores = np.array([0.3, 0.9, 0.4, 0.2, 0.1, 0.95])
    near = ExitRule(below=1.0, above=1.0, page=0)
    assert near.goes_on(irrelevance, scores, 0.5).tolist() == [False, False, True, True, False, False]
    page = ExitRule(below=0.0, above=1.0, page=2)
    assert page.goes_on(irrelevance, scores, 0.5).tolist() == [False, True, True, True, False, False], (
        "who is surely removed is no contender, whatever its score"
    )


def test_the_band_moves_with_the_threshold() -> None:
    rule = ExitRule(below=0.5, above=0.5, page=0)
    irrelevance = np.array([0.2, 0.5, 0.8])
    for threshold, chosen in ((0.2, 0), (0.5, 1), (0.8, 2)):
        assert np.flatnonzero(rule.goes_on(irrelevance, irrelevance, threshold)).tolist() == [chosen]
    assert not rule.goes_on(irrelevance, irrelevance, 1.0).any()


def test_the_rule_that_was_never_fitted_lets_everything_go_on() -> None:
    irrelevance = np.array([0.0, 1e-9, 0.5, 1.0])
    for threshold in (0.0, 0.3, 1.0):
        assert ExitRule().goes_on(irrelevance, 1 - irrelevance, threshold).all()


def test_products_that_are_not_known_do_not_go_on() -> None:
    irrelevance = np.array([np.nan, 0.5])
    assert ExitRule().goes_on(irrelevance, 1 - irrelevance, 0.5).tolist() == [False, True]


def test_of_rows_the_contenders_are_a_share() -> None:
    """200 rows are two windows of a hundred, of whose pages of three the six best are: those furthest under theirs."""
    irrelevance = np.linspace(0.01, 0.99, 200)
    thresholds = np.where(np.arange(200) % 2, 0.2, 0.9)
    rule = ExitRule(below=0.1, above=0.1, page=3)
    chosen = np.flatnonzero(rule.goes_on_of_rows(irrelevance, thresholds))
    near = [row for row in chosen if abs(logit(irrelevance[row]) - logit(thresholds[row])) <= 0.1]
    assert near, "the band is no other than in a window"
    assert [row for row in chosen if row not in near] == [0, 2, 4, 6, 8, 10]
    assert (
        not ExitRule(below=0.0, above=0.0, page=3).goes_on_of_rows(irrelevance, np.full(200, 0.001)).any()
    ), "who is surely removed is no contender"


def rows(seed: int, n: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Irrelevance of an early exit and of all layers, the early one being noisier, and who is a defect."""
    draw = np.random.default_rng(seed)
    defect = draw.random(n) < 0.3
    full = np.where(defect, 1.2, -1.2) + draw.normal(size=n)
    early = full + noise * draw.normal(size=n)
    return 1 / (1 + np.exp(-early)), 1 / (1 + np.exp(-full)), defect


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0.2, 0.9), st.sampled_from([0, 10]))
def test_a_fitted_rule_keeps_what_it_promises_on_its_rows(
    seed: int, noise: float, threshold: float, page: int
) -> None:
    early, full, defect = rows(seed, 400, noise)
    rule = fit_rule(early, full, np.full(400, threshold), defect, page=page)
    lost, removed, auc = np.zeros(2), np.zeros(2), np.zeros(2)
    for move in MOVES:
        asked = float(1 / (1 + np.exp(-(logit(threshold) + move))))
        mixed = np.where(rule.goes_on_of_rows(early, np.full(400, asked)), full, early)
        both = [mixed, full]
        if move == 0:
            assert (mixed > threshold)[~defect].sum() <= (full > threshold)[~defect].sum()
        lost += [(values > asked)[~defect].sum() for values in both]
        removed += [(values > asked)[defect].mean() / len(MOVES) for values in both]
        auc += [roc_auc_score(defect, values) / len(MOVES) for values in both]
    assert lost[0] <= (1 + MORE_LOST) * lost[1]
    assert removed[0] >= removed[1] - 0.01 - 1e-9
    assert auc[0] >= auc[1] - 0.005 - 1e-9


def test_no_single_row_decides_a_rule() -> None:
    """Of these rows, leaving out one let 19 % more go on while a rule had to hold at each threshold by itself."""
    early, full, defect = rows(11, 400, 0.3)
    thresholds = np.full(400, 0.7)
    whole = fit_rule(early, full, thresholds, defect, page=0)
    shares = []
    for left_out in range(0, 400, 20):
        rest = np.arange(400) != left_out
        rule = fit_rule(early[rest], full[rest], thresholds[rest], defect[rest], page=0)
        shares.append(rule.goes_on_of_rows(early, thresholds).mean())
    assert np.ptp([whole.goes_on_of_rows(early, thresholds).mean(), *shares]) < 0.05


def test_a_better_exit_lets_fewer_go_on() -> None:
    shares = []
    for noise in (0.1, 1.0, 4.0):
        early, full, defect = rows(1, 2_000, noise)
        rule = fit_rule(early, full, np.full(2_000, 0.7), defect, page=0)
        shares.append(rule.goes_on(early, 1 - early, 0.7).mean())
    assert shares[0] < 0.3 < shares[1] < shares[2]


def test_where_the_page_goes_on_the_band_may_be_narrower() -> None:
    """All layers tell these apart better than the first, and those of the page are told by them whatever the band."""
    early, full, defect = rows(3, 2_000, 1.0)
    thresholds = np.full(2_000, 0.7)
    bands = [fit_rule(early, full, thresholds, defect, page=page) for page in (0, 20)]
    alone, beside = (
        ExitRule(below=rule.below, above=rule.above, page=0).goes_on_of_rows(early, thresholds).mean()
        for rule in bands
    )
    assert beside < alone - 0.02


def test_thresholds_may_differ_by_row() -> None:
    early, full, defect = rows(2, 600, 0.5)
    thresholds = np.where(np.arange(600) % 2, 0.4, 0.8)
    rule = fit_rule(early, full, thresholds, defect, page=0)
    distance = logit(early) - logit(thresholds)
    mixed = np.where((distance >= -rule.below) & (distance <= rule.above), full, early)
    assert (mixed > thresholds)[~defect].sum() <= (full > thresholds)[~defect].sum()


def test_rows_of_one_kind_fit_nothing() -> None:
    with pytest.raises(InputError, match="one kind"):
        fit_rule(np.array([0.1]), np.array([0.1]), np.array([0.5]), np.array([True]))
