"""Training on a tiny random model: it learns, it resumes after a kill with the same result, it refuses bad rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csrm.bundle import load_bundle
from csrm.errors import InputError
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.training.bundling import calibrated_bundle
from csrm.training.data import LabelledPair, deduplicated, read_pairs, refuse_leaks
from csrm.training.environment import environment
from csrm.training.recipe import load_recipe
from csrm.training.record import Progress
from csrm.training.run import train

GRADE_OF = {"red case": "E", "blue case": "S", "case glue": "C", "garden gnome": "I"}


def write_rows(path: Path, queries: list[str]) -> None:
    rows = [
        {"query": query, "title": f"{title} {query}", "label": label, "locale": "en"}
        for query in queries
        for title, label in GRADE_OF.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    write_rows(tmp_path / "train.jsonl", [f"case {i}" for i in range(12)])
    write_rows(tmp_path / "dev.jsonl", [f"cover {i}" for i in range(12)])
    (tmp_path / "recipe.yaml").write_text(
        f"""
name: tiny
base: {tiny_bases["gemma3"]}
batch_tokens: 512
checkpoint_steps: 2
dev: [dev.jsonl]
stages:
  - name: only
    epochs: 8
    learning_rate: 3.0e-3
    sources: [{{path: train.jsonl}}]
"""
    )
    return tmp_path


class KilledError(Exception):
    pass


@pytest.mark.timeout(900)  # the one training that is compiled, as users have it; compilers share the machine
def test_training_learns_and_a_killed_run_ends_the_same(data: Path) -> None:
    recipe = load_recipe(data / "recipe.yaml")
    steps: list[Progress] = []
    whole = train(recipe, data / "whole", [data], on_step=steps.append)  # type: ignore[arg-type]
    assert steps[-1].step == steps[-1].steps
    assert steps[-1].loss < steps[0].loss

    def kill(progress: object) -> None:
        if isinstance(progress, Progress) and progress.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, data / "killed", [data], on_step=kill)
    resumed = train(recipe, data / "killed", [data])
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (whole, resumed))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_adapter_becomes_a_bundle(data: Path, tiny_bases: dict[str, Path]) -> None:
    with torch.compiler.set_stance("force_eager"):
        adapter = train(load_recipe(data / "recipe.yaml"), data / "run", [data])
    assert json.loads((data / "run/environment.json").read_text()) == environment()
    start = data / "start"
    start.mkdir()
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"])}
    (start / "bundle.json").write_text(json.dumps(manifest))
    # Labels after this model's own heart, two of them contrary: what calibration does with sense is tested apart.
    (start / "adapter").mkdir()
    for file in adapter.iterdir():
        (start / "adapter" / file.name).write_bytes(file.read_bytes())
    rows = [
        LabelledPair(query="cover", title=f"item {i}", label="E", locale="ko" if i < 100 else "en")
        for i in range(1_200)
    ]
    defect = grade_rows(RelevanceModel.load(start), rows)[:, 2:].sum(axis=1)
    labels = ["EI"[int(p > np.median(defect))] for p in defect]
    middle = defect.argsort()[[len(rows) // 2 - 2, len(rows) // 2 + 2]]
    labels[middle[0]], labels[middle[1]] = "I", "E"
    judged = [row.model_copy(update={"label": label}) for row, label in zip(rows, labels, strict=True)]
    (data / "clean.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in judged))
    made = calibrated_bundle(
        start, [data / "clean.jsonl"], data / "made", adapter=adapter, name="mine", version=2
    )
    assert made.name == "mine@2"
    assert made.manifest.calibration.slope > 0
    # The few rows of ko keep to the pooled threshold.
    assert set(made.manifest.thresholds) == {"en"}
    assert made.threshold("ko") == made.manifest.threshold < 1
    assert load_bundle(data / "made").adapter_path is not None
    with pytest.raises(InputError, match="exists already"):
        calibrated_bundle(start, [data / "clean.jsonl"], data / "made")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "empty"),
        ('{"query": "a"\n', "line 1: not JSON"),
        ('{"query": "a", "title": "b", "label": "X", "locale": "en"}\n', "field label"),
        (
            '{"query": "a", "title": "b", "label": "E", "locale": "en"}\n{"query": " "}\n',
            "line 2, field query",
        ),
    ],
)
def test_bad_rows_are_named(content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(InputError, match=named):
        read_pairs(tmp_path / "rows.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_pairs(tmp_path / "none.jsonl")


def test_repeated_pairs_count_once_and_leaks_are_refused(data: Path) -> None:
    rows = read_pairs(data / "train.jsonl")
    assert len(deduplicated(rows + rows)) == len(rows)
    shouted = [rows[0].model_copy(update={"query": rows[0].query.upper() + " "})]
    with pytest.raises(InputError, match="held-out"):
        refuse_leaks(rows, shouted)


def test_a_wrong_setting_is_named(data: Path) -> None:
    (data / "recipe.yaml").write_text("name: x\nstages: []\ndev: [a]\n")
    with pytest.raises(InputError, match="stages"):
        load_recipe(data / "recipe.yaml")
