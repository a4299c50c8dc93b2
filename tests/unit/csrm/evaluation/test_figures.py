"""Figures under weights are scikit-learn's with ``sample_weight``, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, f1_score, ndcg_score, roc_auc_score, roc_curve

from csrm.evaluation import figures

GRADES = ("E", "S", "C", "I")


@st.composite
def drawn_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truths, scores with ties, and whole weights that leave rows of both kinds."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.random(n) < 0.5
    truth[:2] = [True, False]
    weights = rng.integers(0, 4, n).astype(float)
    weights[:2] = np.maximum(weights[:2], 1)
    return truth, rng.integers(0, draw(st.integers(1, 12)), n) / 10, weights


@given(drawn_rows())
@settings(max_examples=150, deadline=None)
def test_weighted_curves_are_those_of_scikit_learn(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, scores, weights = rows
    both = np.stack([np.ones(len(truth)), weights])
    area = figures.roc_auc(truth, scores)
    assert area.value == pytest.approx(roc_auc_score(truth, scores))
    assert list(area.resampled(both)) == pytest.approx(
        [area.value, roc_auc_score(truth, scores, sample_weight=weights)]
    )
    precision = figures.pr_auc(truth, scores)
    assert list(precision.resampled(both)) == pytest.approx(
        [precision.value, average_precision_score(truth, scores, sample_weight=weights)]
    )
    removed = figures.removed_at_loss(truth, scores, 0.1)
    lost, gone, _ = roc_curve(~truth, scores, sample_weight=weights, drop_intermediate=False)
    assert list(removed.resampled(both)) == pytest.approx([removed.value, np.interp(0.1, lost, gone)])


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_weighted_f1_is_that_of_the_rows_written_out(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.choice(GRADES, n), rng.choice(GRADES, n)
    times = rng.integers(0, 3, n)
    times[0] += 1
    out, said = np.repeat(labels, times), np.repeat(predicted, times)
    macro, micro = figures.macro_f1(labels, predicted, GRADES), figures.micro_f1(labels, predicted)
    assert macro.resampled(times[None].astype(float))[0] == pytest.approx(
        f1_score(out, said, average="macro", zero_division=np.nan)
    )
    assert micro.resampled(times[None].astype(float))[0] == pytest.approx(
        f1_score(out, said, average="micro")
    )
    assert micro.value == pytest.approx(np.mean(labels == predicted))


def test_the_calibration_error_is_that_of_scikit_learns_bins() -> None:
    rng = np.random.default_rng(1)
    said = rng.random(500)
    truth = rng.random(500) < said**2
    true_share, mean_said = calibration_curve(truth, said, n_bins=figures.BINS)
    counts = np.bincount(figures.bin_of(said), minlength=figures.BINS)
    expected = (np.abs(true_share - mean_said) * counts).sum() / 500
    found = figures.calibration_error(truth, said)
    assert found.value == pytest.approx(expected)
    assert expected > 0.1
    honest = figures.calibration_error(rng.random(20_000) < 0.3, np.full(20_000, 0.3))
    assert honest.value is not None
    assert honest.value < 0.02


def test_certain_probabilities_have_a_bin() -> None:
    assert list(figures.bin_of(np.array([0.0, 0.0999, 0.1, 1.0]))) == [0, 0, 1, figures.BINS - 1]


def test_ndcg_is_the_mean_over_queries_that_can_gain() -> None:
    groups = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5]), np.array([6, 7])]
    gains = np.array([1.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0, 1.0])
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.2, 0.1, 0.7, 0.7])
    found = figures.ndcg(groups, gains, scores, 10)
    first = ndcg_score([[1.0, 0.0, 0.1]], [[0.1, 0.9, 0.5]])
    tied = (1 + 1 / np.log2(3)) / 2  # the exact product stands first or second
    assert found.value == pytest.approx((first + tied) / 2)
    weights = np.ones((2, 8))
    weights[1, 6:] = 3
    assert list(found.resampled(weights)) == pytest.approx([found.value, (first + 3 * tied) / 4])


def test_removed_at_a_loss_follows_the_curve_in_a_straight_line() -> None:
    relevant = np.array([True] * 10 + [False] * 4)
    irrelevance = np.array([0.55, *np.linspace(0.1, 0.3, 9), 0.9, 0.5, 0.2, 0.15])
    assert figures.removed_at_loss(relevant, irrelevance, 0.05).value == pytest.approx(0.25)
    assert figures.removed_at_loss(relevant, irrelevance, 0.1).value == pytest.approx(0.5)
    same = figures.removed_at_loss(relevant, np.zeros(14), 0.02)
    assert same.value == pytest.approx(0.02)  # who knows nothing removes as much of one kind as of the other


def test_one_kind_of_rows_has_no_curve() -> None:
    same = np.ones(3, dtype=bool)
    for figure in (
        figures.roc_auc(same, np.arange(3.0)),
        figures.pr_auc(~same, np.arange(3.0)),
        figures.removed_at_loss(same, np.arange(3.0), 0.02),
        figures.share(same, ~same),
    ):
        assert figure.value is None
