"""The rule of who goes on is that of all rows, and the figures of balanced are of queries a rule did not see."""

from __future__ import annotations

import numpy as np
import pytest

from csrm.bundle import EarlyExit
from csrm.cascade import ExitRule, Floats, Mask, fit_rule
from csrm.evaluation import cascading
from csrm.evaluation.cascading import CascadeFit, fit_cascade
from csrm.training.data import LabelledPair

BEFORE = EarlyExit(layer=2, rule=ExitRule(page=7))


def fitted(queries: int) -> CascadeFit:
    """Of rows that the model tells apart, and its first layers nearly as well."""
    chance = np.random.default_rng(5)
    rows = [
        LabelledPair(query=f"lamp {i // 6}", title=f"lamp {i}", label="EESCII"[i % 6], locale="en")
        for i in range(6 * queries)
    ]
    bad = np.array([row.label in "CI" for row in rows])
    logits = np.where(bad, 1.5, -1.5) + chance.normal(0, 1.2, len(rows))
    full = 1 / (1 + np.exp(-logits))
    early = 1 / (1 + np.exp(-logits - chance.normal(0, 0.8, len(rows))))
    thresholds = np.full(len(rows), float(np.quantile(full[~bad], 0.98)))
    return fit_cascade(rows, early, full, thresholds, before=BEFORE)


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ExitRule]]:
    """Every rule that is fitted, and to how many rows."""
    found: list[tuple[int, ExitRule]] = []

    def fit(early: Floats, full: Floats, thresholds: Floats, is_defect: Mask, *, page: int = 10) -> ExitRule:
        rule = fit_rule(early, full, thresholds, is_defect, page=page)
        found.append((len(early), rule))
        return rule

    monkeypatch.setattr(cascading, "fit_rule", fit)
    return found


def test_the_rule_is_that_of_all_rows_and_its_figures_are_of_queries_left_out(
    rules: list[tuple[int, ExitRule]],
) -> None:
    fit = fitted(60)
    assert [rows for rows, _ in rules] == [6 * 60] + [6 * 48] * 5
    assert fit.exit.rule == rules[0][1]
    assert fit.exit.rule.page == 7
    assert 0 < fit.levels["balanced"].all_layers < 1
    assert fit.levels["fast"].auc < fit.levels["balanced"].auc < fit.levels["full"].auc + 0.001


def test_of_few_queries_no_part_is_left_out(rules: list[tuple[int, ExitRule]]) -> None:
    fit = fitted(4)
    assert [rows for rows, _ in rules] == [24]
    assert fit.exit.rule == rules[0][1]
    assert fit.levels["balanced"].all_layers == 1
