"""Kendall's tau-b against scipy's, and what scorers read from the answers' logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from csrm.benchmark.agreement import kendall, readings


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_it_is_scipys_tau_b(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    expected = kendalltau(a, b).statistic
    if not np.isnan(expected):
        assert kendall(a, b) == pytest.approx(expected)


def test_constant_scores_agree_with_constant_scores_only() -> None:
    assert kendall([1, 1, 1], [2, 2, 2]) == 1.0
    assert kendall([1, 1, 1], [1, 2, 3]) == 0.0


def test_readings_of_two_products() -> None:
    logits = np.array([[3.0, 1.0, 0.0, -1.0], [0.0, 1.0, 2.0, 4.0]])
    read = readings([1.0, 0.1, 0.01, 0.0])
    powers = np.exp(logits)
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert read["gain"](logits) == pytest.approx(shares @ [1.0, 0.1, 0.01, 0.0])
    assert read["odds"](logits).tolist() == [4.0, -4.0]
    assert read["best"](logits).tolist() == [3.0, 0.0]
