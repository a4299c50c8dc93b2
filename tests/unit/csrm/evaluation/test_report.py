"""Figures of a few rows, counted by hand; parts of several files; knowledge that reaches the model once a query."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from csrm.bundle import Bundle, Manifest
from csrm.calibration import Calibration
from csrm.errors import InputError
from csrm.evaluation.compare import compare
from csrm.evaluation.grading import grade_rows
from csrm.evaluation.report import parts, report
from csrm.evaluation.scores import Scores
from csrm.model import RelevanceModel
from csrm.training.data import LabelledPair

GRADES = np.array(
    [[0.9, 0, 0.1, 0], [0.2, 0.2, 0.3, 0.3], [0.1, 0.2, 0.7, 0], [0.1, 0.4, 0, 0.5], [0.8, 0, 0.1, 0.1]],
    dtype=np.float32,
)


def pairs(labels: str, locales: list[str] | None = None) -> list[LabelledPair]:
    return [
        LabelledPair(query=f"q{i // 2}", title=f"t{i}", label=label, locale=locale)
        for i, (label, locale) in enumerate(zip(labels, locales or ["en"] * len(labels), strict=True))
    ]


def drawn(n: int, seed: int, sense: float) -> tuple[list[LabelledPair], np.ndarray]:
    """Rows, and grades that know of them what ``sense`` says: 0 is nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list("ESCI"), n, p=[0.4, 0.3, 0.1, 0.2])
    rows = [
        LabelledPair(query=f"q{i}", title="t", label=label, locale="en") for i, label in enumerate(labels)
    ]
    logits = rng.normal(size=(n, 4)) + sense * (labels[:, None] == np.array(list("ESCI")))
    powers = np.exp(logits)
    return rows, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_figures_counted_by_hand() -> None:
    rows = pairs("ESCIE", ["en"] * 4 + ["ko"])
    bundle = Bundle(Path(), Manifest(name="x", version=1, base="y", threshold=0.55, thresholds={"ko": 0.15}))
    found = report(rows, Scores.of_grades(GRADES, rows, bundle))
    assert found["n"] == 5
    assert found["auc_e"]["value"] == 1.0
    assert found["auc_es"]["value"] == pytest.approx(
        5 / 6
    )  # of six pairs only (S, I) stand the wrong way round
    assert found["pr_auc_defect"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["micro_f1"]["value"] == pytest.approx(4 / 5)
    assert found["macro_f1"]["value"] == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)  # the S is taken for a C
    # Each row has the threshold of its own locale: the last is removed at 0.15, the S at 0.55.
    assert found["at_threshold"]["relevant_kept"]["value"] == pytest.approx(1 / 3)
    assert found["at_threshold"]["defects_removed"]["value"] == 0.5
    # Above the S, which may not go, stands the C alone; 2 % of the way on to the S nothing else does.
    assert found["at_2pct"]["defects_removed"]["value"] == 0.5
    low, high = found["auc_es"]["ci95"]
    assert low <= 5 / 6 <= high


def test_the_bundles_calibration_counts() -> None:
    rows, grades = drawn(400, 1, 2.0)
    manifest = Manifest(name="x", version=1, base="y", calibration=Calibration(slope=1.0, offset=4.0))
    raw = report(rows, grades, draws=20)
    warped = report(rows, Scores.of_grades(grades, rows, Bundle(Path(), manifest)), draws=20)
    assert warped["auc_es"] == raw["auc_es"]
    assert warped["ece"]["value"] > raw["ece"]["value"] + 0.2


def test_what_cannot_be_computed_is_null() -> None:
    none = {"value": None, "ci95": None}
    found = report(pairs("E"), np.array([[0.7, 0.1, 0.1, 0.1]], dtype=np.float32))
    assert found["auc_es"] == found["ndcg10"] == found["at_2pct"]["defects_removed"] == none
    assert found["at_threshold"] == {"relevant_kept": none, "defects_removed": none}
    assert found["micro_f1"] == {"value": 1.0, "ci95": None}  # one query has no interval


def test_a_similarity_has_orders_and_no_probabilities() -> None:
    found = report(pairs("EISI"), Scores.of_similarity(np.array([0.9, 0.1, 0.4, 0.5])))
    assert found["auc_es"]["value"] == pytest.approx(3 / 4)
    assert found["ndcg10"]["value"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert found["ece"]["value"] is found["micro_f1"]["value"] is None


def test_yes_and_no_are_no_four_grades() -> None:
    grades = np.array([[0.9, 0, 0, 0.1], [0.2, 0, 0, 0.8]], dtype=np.float32)
    found = report(pairs("EI"), grades)
    assert found["macro_f1"]["value"] is None
    assert found["ece"]["value"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("grades", "named"),
    [
        (np.ones((3, 4)) / 4, "3 for 2 rows"),
        (np.ones((2, 2)) / 2, r"\(n, 4\)"),
        (np.full((2, 4), np.nan), "probabilities"),
    ],
)
def test_wrong_grades_are_named(grades: np.ndarray, named: str) -> None:
    with pytest.raises(InputError, match=named):
        report(pairs("EI"), grades)


def test_a_difference_is_surer_than_the_figures() -> None:
    rows, good = drawn(600, 3, 2.0)
    noise = np.random.default_rng(4).dirichlet([1, 1, 1, 1], 600).astype(np.float32)
    worse = (0.7 * good + 0.3 * noise).astype(np.float32)
    found = compare(rows, good, worse)
    gain = found["auc_es"]["difference"]
    assert gain["value"] == pytest.approx(found["auc_es"]["a"] - found["auc_es"]["b"])
    assert gain["ci95"][0] > 0
    alone = report(rows, good)["auc_es"]["ci95"]
    assert gain["ci95"][1] - gain["ci95"][0] < alone[1] - alone[0]
    assert found["at_2pct.defects_removed"]["a"] == report(rows, good)["at_2pct"]["defects_removed"]["value"]


def test_a_scorer_does_not_differ_from_itself() -> None:
    rows, grades = drawn(50, 3, 1.0)
    assert compare(rows, grades, grades)["auc_es"]["difference"] == {"value": 0.0, "ci95": [0.0, 0.0]}


def test_files_of_one_stem_go_by_folder_too(tmp_path: Path) -> None:
    rows = pairs("EI", ["en", "ja"])
    files = {Path("a/es.jsonl"): rows, Path("b/es.jsonl.gz"): rows, Path("b/ja.v2.jsonl"): rows}
    found = parts(files)
    assert {name: places.tolist() for name, places in found["files"].items()} == {
        "a/es": [0, 1],
        "b/es": [2, 3],
        "ja.v2": [4, 5],
    }
    assert {name: places.tolist() for name, places in found["locales"].items()} == {
        "en": [0, 2, 4],
        "ja": [1, 3, 5],
    }


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
