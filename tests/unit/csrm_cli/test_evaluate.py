"""``csrm evaluate`` from files to tables, JSON and plots; a fault is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from csrm.errors import InputError
from csrm_cli.errors import explain
from csrm_cli.main import load

FIGURES = {"auc_e", "auc_es", "pr_auc_defect", "micro_f1", "macro_f1", "ndcg10", "ece"}


def csrm(*arguments: object) -> str:
    """What the command prints; what it raises on purpose is raised."""
    done = CliRunner().invoke(load("evaluate"), [str(argument) for argument in arguments])
    if done.exception:
        raise done.exception
    return done.output


def write(path: Path, rows: list[tuple[str, str, str]], locale: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    made = [{"query": q, "title": t, "label": label, "locale": locale} for q, t, label in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rows = [
        row
        for i in range(8)
        for row in ((f"red case {i}", f"red case {i}", "E"), (f"red case {i}", "Garden gnome", "I"))
    ]
    return [
        write(tmp_path / "a" / "es.jsonl", rows, "es"),
        write(tmp_path / "b" / "es.jsonl", rows[:6], "ja"),
    ]


def test_a_report_of_files_locales_and_all(files: list[Path], tmp_path: Path) -> None:
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    both = ["--data", files[0], "--data", files[1]]
    shown = csrm(*both, "--scorer", "overlap", "--against", "embedding", "--json", out, "--plots", plots)
    result: dict[str, Any] = json.loads(out.read_text())
    assert set(result["files"]) == {"a/es", "b/es"}
    assert set(result["locales"]) == {"es", "ja"}
    assert result["all"]["n"] == 22
    for report in (*result["files"].values(), *result["locales"].values(), result["all"]):
        assert set(report) == {"n", *FIGURES, "at_threshold", "at_2pct"}
        assert set(report["auc_es"]) == {"value", "ci95"}
    assert result["all"]["auc_es"]["value"] == 1.0
    assert result["scorer"] == "overlap"
    assert result["knowledge"] == result["against"]["knowledge"] == "none"  # letters need none
    assert (result["level"], result["all_layers"]) == ("full", None)  # nor have they layers
    assert result["precision"] is None  # nor weights
    assert result["pairs_per_second"] > 0
    assert result["against"]["all"]["n"] == 22
    assert result["differences"]["all"]["auc_es"]["difference"]["ci95"] is not None
    assert "overlap against embedding" in shown
    assert (plots / "removed_against_lost.png").read_bytes().startswith(b"\x89PNG")
    assert not (plots / "reliability.png").exists()  # neither says a probability


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "none.jsonl"], "none.jsonl does not exist"),
        (["--data", "empty.jsonl"], "empty.jsonl is empty"),
        (["--data", "label.jsonl"], "label.jsonl, line 2, field label"),
        (["--data", "good.jsonl", "--data", "good.jsonl"], "named twice"),
        (["--data", "good.jsonl", "--scorer", "bm25"], "no scorer 'bm25'"),
        (
            ["--data", "good.jsonl", "--scorer", "overlap", "--plots", "good.jsonl"],
            "is a file; give a folder",
        ),
        (["--data", "good.jsonl", "--scorer", "bm25", "--json", "no/out.json"], "no does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fault_is_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    write(tmp_path / "good.jsonl", [("q", "t", "E"), ("q", "u", "I")], "en")
    write(tmp_path / "label.jsonl", [("q", "t", "E"), ("q", "u", "X")], "en")
    placed = [
        value if before == "--scorer" or value.startswith("--") else str(tmp_path / value)
        for before, value in zip(["", *arguments], arguments, strict=False)
    ]
    with pytest.raises((InputError, OSError)) as raised:
        csrm(*placed)
    failure = explain(raised.value)
    assert failure.exit_code == 2
    assert said in failure.sentence


def test_one_class_has_a_report_of_what_there_is_and_no_plot(tmp_path: Path) -> None:
    data = write(tmp_path / "one.jsonl", [("q", "t", "E"), ("q", "u", "S")], "en")
    csrm("--data", data, "--scorer", "overlap", "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["all"]["auc_es"] == {"value": None, "ci95": None}
    with pytest.raises(InputError, match="no curve"):
        csrm("--data", data, "--scorer", "overlap", "--plots", tmp_path / "plots")


def test_a_title_of_20000_characters_is_measured(tmp_path: Path) -> None:
    rows = [("red case", "red case " * 2_222, "E"), ("red case", "gnome " * 3_333, "I")]
    data = write(tmp_path / "long.jsonl", rows, "en")
    for scorer in ("overlap", "embedding"):
        csrm("--data", data, "--scorer", scorer, "--json", tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text())["all"]["auc_es"]["value"] == 1.0
