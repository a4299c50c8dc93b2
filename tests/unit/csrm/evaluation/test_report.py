"""Figures of a few rows, counted by hand, and knowledge that reaches the model once a query."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from csrm.evaluation.grading import grade_rows
from csrm.evaluation.report import report
from csrm.model import RelevanceModel
from csrm.training.data import LabelledPair


def test_figures_counted_by_hand() -> None:
    labels = ["E", "S", "C", "I", "E"]
    irrelevance = np.array([0.1, 0.6, 0.7, 0.5, 0.2])
    grades = np.zeros((5, 4), dtype=np.float32)
    grades[:, 0] = [0.9, 0.2, 0.3, 0.1, 0.8]
    found = report(grades, irrelevance, labels, np.array([0.55, 0.55, 0.55, 0.55, 0.15]))
    assert found["n"] == 5
    assert found["auc_e"] == 1.0
    assert found["auc_es"] == pytest.approx(5 / 6)  # of six pairs only (S, I) stand the wrong way round
    # Each row has the threshold of its own locale: the last is removed at 0.15, the S at 0.55.
    assert found["at_threshold"] == {"relevant_kept": pytest.approx(1 / 3), "defects_removed": 0.5}
    assert found["at_2pct"] == {
        "defects_removed": 0.5
    }  # no relevant row may go: above 0.6 stands the C alone


def test_what_cannot_be_computed_is_null() -> None:
    found = report(np.ones((1, 4), dtype=np.float32), np.array([0.4]), ["E"], np.array([0.5]))
    assert found["auc_es"] is None
    assert found["at_threshold"] == {"relevant_kept": 1.0, "defects_removed": None}


def test_knowledge_is_asked_once_a_query_and_changes_the_grades(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    (tmp_path / "bundle.json").write_text(
        json.dumps({"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"])})
    )
    model = RelevanceModel.load(tmp_path, precision="fp32")
    rows = [
        LabelledPair(query=query, title=title, label="E", locale="en")
        for query in ("case", "pan")
        for title in ("red", "blue")
    ]
    asked = []

    def knowledge(query: str, locale: str) -> list[str]:
        asked.append((query, locale))
        return [f"{query} = a thing"]

    told = grade_rows(model, rows, knowledge)
    assert asked == [("case", "en"), ("pan", "en")]
    assert np.abs(told - grade_rows(model, rows)).max() > 1e-6
