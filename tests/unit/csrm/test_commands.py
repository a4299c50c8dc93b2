"""``csrm calibrate`` and ``csrm evaluate`` one after the other, on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from csrm.bundle import load_bundle
from csrm.errors import BaseModelError, InputError
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.training.data import LabelledPair
from csrm_cli.main import load


def csrm(name: str, *arguments: object) -> str:
    """What the command prints; what it raises on purpose is raised."""
    done = CliRunner(env={"COLUMNS": "160"}).invoke(load(name), [str(argument) for argument in arguments])
    if done.exception:
        raise done.exception
    return " ".join(done.output.split())


@pytest.fixture
def start(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    """A bundle, and rows labelled after its own heart with some noise."""
    folder = tmp_path / "start"
    folder.mkdir()
    manifest = {
        "name": "tiny",
        "version": 1,
        "base": str(tiny_bases["gemma3"]),
        "calibration": {"offset": 2.0},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    (folder / "MODEL_CARD.md").write_text("The old one.")
    rows = [
        LabelledPair(query=f"cover {i // 30}", title=f"item {i * 7919}", label="E", locale="en")
        for i in range(600)
    ]
    defect = grade_rows(RelevanceModel.load(folder), rows)[:, 2:].sum(axis=1)
    noisy = defect + np.random.default_rng(1).normal(0, defect.std() / 3, len(rows))
    labels = ["EI"[int(p > np.median(noisy))] for p in noisy]
    judged = [row.model_copy(update={"label": label}) for row, label in zip(rows, labels, strict=True)]
    (tmp_path / "clean.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in judged))
    return folder


def test_a_calibrated_bundle_is_measured_to_keep_its_promise(start: Path, tmp_path: Path) -> None:
    made, clean = tmp_path / "made", tmp_path / "clean.jsonl"
    said = csrm("calibrate", clean, "--bundle", start, "--out", made, "--version", 2)
    assert f"tiny@2 · in {load_bundle(made).manifest.calibrated_in} · calibration error" in said
    assert "on queries left out" in said
    assert load_bundle(made).manifest.threshold < 1
    assert (start / "MODEL_CARD.md").read_text() == "The old one."
    card = (made / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny, version 2\n")
    assert "- `clean.jsonl`: 600\n" in card
    assert "- adapter: none, the bare base\n" in card
    lost, removed = re.findall(r"(\d+) of (?:\d+)", said)[:2]
    threshold = load_bundle(made).manifest.threshold
    assert re.search(rf"\| all \| {threshold:.4f} \| {lost} of \d+ \| \S+% \| {removed} of \d+ \|", card)
    assert "## Levels" not in card
    shown = csrm(
        *("evaluate", "--bundle", made, "--data", clean, "--against", start),
        *("--json", tmp_path / "out.json", "--plots", tmp_path / "plots"),
    )
    assert "tiny@2 against tiny@1" in shown
    result = json.loads((tmp_path / "out.json").read_text())
    after, before = result["all"], result["against"]["all"]
    assert after["at_threshold"]["relevant_kept"]["value"] >= 0.98
    assert after["at_threshold"]["defects_removed"]["value"] > 0.2
    assert before["at_threshold"]["defects_removed"]["value"] == 0
    assert after["ece"]["value"] < before["ece"]["value"]
    assert after["auc_es"]["value"] == pytest.approx(before["auc_es"]["value"])
    assert (tmp_path / "plots" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_rows_say_how_many_it_takes(start: Path, tmp_path: Path) -> None:
    lines = (tmp_path / "clean.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(lines[:100]))
    said = csrm("calibrate", tmp_path / "few.jsonl", "--bundle", start, "--out", tmp_path / "made")
    assert "Nothing will be removed: a promise of 2.0% takes at least 149 relevant rows" in said


def test_rows_of_one_kind_are_told_before_the_model_is_asked(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    manifest = {"name": "none", "version": 1, "base": str(tmp_path / "no-such-base")}
    (tmp_path / "start/bundle.json").write_text(json.dumps(manifest))
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for file in files:
        file.write_text(LabelledPair(query="q", title="t", label="E", locale="en").model_dump_json() + "\n")
    to = ("--bundle", tmp_path / "start", "--out", tmp_path / "made")
    with pytest.raises(InputError, match=r"one\.jsonl, .*two\.jsonl: all rows are relevant \(E, S\)"):
        csrm("calibrate", *files, *to)
    assert not (tmp_path / "made").exists()
    files[1].write_text(files[1].read_text() + files[1].read_text().replace('"E"', '"I"'))
    with pytest.raises(BaseModelError, match="no-such-base"):
        csrm("calibrate", *files, *to)
