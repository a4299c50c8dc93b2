"""Self-distillation on a tiny random model: folds, labels overruled, rounds that a kill does not lose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csrm.errors import InputError
from csrm.training import rounds
from csrm.training.data import TrainingRow
from csrm.training.distillation import Lesson, refined
from csrm.training.recipe import DistillationSettings, Recipe, Stage
from csrm.training.record import Progress
from csrm.training.relevance import Example
from csrm.training.rounds import believed, folds_of, mixed
from csrm.training.run import rows_of, train
from csrm.training.trainer import Dev, Trainer

GRADE_OF = {"red case": "E", "blue case": "S", "case glue": "C", "garden gnome": "I"}


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than all of it
        yield


def row(query: str, query_en: str | None = None) -> TrainingRow:
    return TrainingRow(query=query, title="t", label="E", locale="en", query_en=query_en)


def test_a_rewritten_query_is_in_the_fold_of_its_origin() -> None:
    rows = [row(f"query {i}") for i in range(50)] + [row(f"consulta {i}", f"Query  {i}") for i in range(50)]
    folds = folds_of(rows, 4)
    assert folds[:50].tolist() == folds[50:].tolist()
    assert set(folds.tolist()) == {0, 1, 2, 3}


def test_labels_are_overruled_by_teachers_that_are_sure() -> None:
    given = np.array([[1, 0, 0, 0]] * 4 + [[1, 0, 1, 1], [1, 1, 1, 1]], dtype=np.float32)
    sure, unsure, same, nothing = (0, 0, 0.02, 0.98), (0.2, 0.3, 0.2, 0.3), (0.9, 0.1, 0, 0), (0.25,) * 4
    among = [(0.3, 0.4, 0.3, 0), (0.1, 0.2, 0.3, 0.4)]
    targets = believed(given, np.array([sure, unsure, same, nothing, *among], dtype=np.float32), 0.3)
    assert targets[0] == pytest.approx(sure)
    assert targets[1] == pytest.approx([7 / 11, 1.5 / 11, 1 / 11, 1.5 / 11])
    assert targets[2] == pytest.approx([63 / 64, 1 / 64, 0, 0])
    assert targets[3] == pytest.approx([0.7, 0.1, 0.1, 0.1])
    assert targets[4] == pytest.approx([0.5, 0, 0.5, 0])  # one of several: the teachers' word among them
    assert targets[5] == pytest.approx(among[1])  # no label: the teachers' word


def test_labels_of_no_worth_leave_the_teachers_word() -> None:
    given = np.eye(4, dtype=np.float32)
    found = np.array([[0.1, 0.2, 0.3, 0.4]] * 4, dtype=np.float32)
    assert believed(given, found, 0.75) == pytest.approx(found)


def test_soft_labels_are_mixed() -> None:
    given = np.array([[1, 0, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]], dtype=np.float32)
    found = np.array([[0.2, 0.8, 0, 0], [0.3, 0.4, 0.3, 0], [0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    targets = mixed(given, found, 0.5)
    assert targets[0] == pytest.approx([0.6, 0.4, 0, 0])
    assert targets[1] == pytest.approx([0.5, 0, 0.5, 0])  # one of several: the teachers' word among them
    assert targets[2] == pytest.approx(found[2])  # no label: the teachers' word
    assert targets.sum(axis=1) == pytest.approx([1, 1, 1])


TAUGHT = (0.1, 0.7, 0.2, 0)
"""What the teachers say of every row; how well they do on dev is written apart."""


def write_rounds(run: Path, rows: list[TrainingRow], places: list[int]) -> None:
    """Two teachers a round, whose mean puts the one irrelevant dev row at a place among six: the higher the better."""
    folds = folds_of(rows, 2)
    for number, place in enumerate(places, 1):
        on_dev = np.zeros((6, 4), dtype=np.float32)
        on_dev[:5, 0] = [0.1, 0.3, 0.5, 0.7, 0.9]
        on_dev[5, 0] = 1 - place / 5
        on_dev[:, 3] = 1 - on_dev[:, 0]
        for fold in range(2):
            folder = run / f"round-{number}/teacher-{fold + 1}"
            folder.mkdir(parents=True)
            said = np.array([TAUGHT] * int((folds == fold).sum()), dtype=np.float32) ** number
            np.savez(folder / "grades.npz", unseen=said / said.sum(axis=1, keepdims=True), dev=on_dev)


@pytest.mark.parametrize(
    ("places", "taken"),
    [
        ([3], 1),  # nothing to compare with
        ([3, 4], 2),
        ([3, 3], 0),  # what round 1 found taught no better than the given labels
        ([3, 2], 0),
        ([1, 3, 2], 1),
        ([1, 3, 4], 3),
    ],
)
def test_labels_are_judged_by_those_they_taught(places: list[int], taken: int, tmp_path: Path) -> None:
    rows = [row(f"query {i}") for i in range(8)]
    examples = [Example(ids=[i], target=(1, 0, 0, 0)) for i in range(8)]
    stage = Stage.model_validate({"name": "only", "sources": [{"path": "rows"}]})
    dev = Dev(examples[:6], np.array([True] * 5 + [False]))
    write_rounds(tmp_path, rows, places)
    nobody = cast(Trainer, None)  # all teachers are trained already
    found = refined(
        nobody,
        [Lesson(stage, rows, examples, [])],
        DistillationSettings(folds=2, rounds=len(places), noise=0.2),
        dev,
        tmp_path,
    )
    taught = np.array(TAUGHT) ** taken
    held = taught * np.array([0.8, 0.2 / 3, 0.2 / 3, 0.2 / 3])
    wanted = [1, 0, 0, 0] if taken == 0 else held / held.sum()
    for example in found[0].examples:
        assert example.target == pytest.approx(wanted, abs=1e-6)


def test_a_round_says_which_labels_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = "case for a phone " * 10
    said = [
        ("q1", "red case", "E", (0.02, 0.97, 0.01, 0)),  # sure enough to overrule the label
        ("q2", long, "E", (0.01, 0.98, 0.01, 0)),
        ("q2", long, "E", (0.01, 0.98, 0.01, 0)),  # a recipe may repeat a row
        ("q3", "case glue", "I", (0, 0, 0.99, 0.01)),
        ("q4", "blue case", "E", (0.2, 0.8, 0, 0)),  # another grade, but not sure enough
        ("q5", "garden gnome", "I", (0, 0.1, 0.1, 0.8)),
        ("q6", "nobody said", "ECI", (0, 0, 1, 0)),  # no label that could change
    ]
    rows = [TrainingRow(query=q, title=title, label=label, locale="en") for q, title, label, _ in said]
    given = np.array([[float(grade in row.label) for grade in "ESCI"] for row in rows], dtype=np.float32)
    found = np.array([grades for *_, grades in said], dtype=np.float32)
    folds = folds_of(rows, 2)
    for fold in range(2):
        folder = tmp_path / f"round-1/teacher-{fold + 1}"
        folder.mkdir(parents=True)
        np.savez(folder / "grades.npz", unseen=found[folds == fold], dev=found[:1])
    settings = DistillationSettings(folds=2, rounds=1, noise=0.2)
    with caplog.at_level("INFO"):
        rounds.refined(rows, given, settings, cast(Any, None), lambda _: 0.75, tmp_path)
    shown = long[:87] + "..."
    assert caplog.messages == [
        "round 1: the teachers' mean has a dev ROC-AUC of 0.7500",
        "round 1: 4 of 6 labels change (66.7%): E -> S 3, I -> C 1; teachers alone would grade 83.3% otherwise",
        "round 1: I -> C: q3 | case glue",
        f"round 1: E -> S: q2 | {shown}",
        "round 1: E -> S: q1 | red case",
    ]
    examples = [
        {"query": "q3", "title": "case glue", "from": "I", "to": "C"},
        {"query": "q2", "title": long.strip(), "from": "E", "to": "S"},
        {"query": "q1", "title": "red case", "from": "E", "to": "S"},
    ]
    counts = {
        "dev_auc_es": 0.75,
        "labelled": 6,
        "changed": 4,
        "changed_share": 0.6667,
        "changed_kinds": {"E -> S": 3, "I -> C": 1},
        "changed_examples": examples,
        "graded_otherwise": 5,
        "graded_otherwise_share": 0.8333,
    }
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"round": 1} | counts
    ]
    full = json.loads((tmp_path / "round-1/labels.json").read_text())
    assert full.items() >= counts.items()
    assert full["kinds"] == {"human E -> S": 4, "human I -> C": 1}
    assert [(one["title"], one["given"]) for one in full["examples"]] == [
        ("case glue", "I"),
        (long.strip(), "E"),
        ("red case", "E"),
        ("blue case", "E"),
    ]
    assert full["examples"][3]["teachers"] == {"E": 0.2, "S": 0.8, "C": 0.0, "I": 0.0}


def test_rows_that_fall_into_one_fold_are_refused(tmp_path: Path) -> None:
    rows = [row("one query")] * 8
    lesson = Lesson(
        Stage.model_validate({"name": "only", "sources": [{"path": "rows"}]}),
        rows,
        [Example(ids=[i], target=(1, 0, 0, 0)) for i in range(8)],
        [],
    )
    with pytest.raises(InputError, match=r"distillation\.folds: all 8 rows fell into one of 3 folds"):
        refined(
            cast(Trainer, None),
            [lesson],
            DistillationSettings(folds=3),
            Dev([], np.zeros(0, dtype=bool)),
            tmp_path,
        )


@pytest.fixture
def recipe(tmp_path: Path, tiny_bases: dict[str, Path]) -> Recipe:
    lines = []
    for i in range(24):
        for title, label in GRADE_OF.items():
            wrong = "I" if i == 3 and label == "E" else label
            lines.append({"query": f"case {i}", "title": f"{title} {i}", "label": wrong, "locale": "en"})
    lines.append(
        {"query": "case 5", "title": "nobody said", "label": "ESCI", "locale": "en", "label_by": "none"}
    )
    lines.append({"query": "case 6", "title": "blue case z", "is_substitute": True, "locale": "en"})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dev = [
        {"query": f"cover {i}", "title": f"{t} {i}", "label": g, "locale": "en"}
        for i in range(6)
        for t, g in GRADE_OF.items()
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in dev))
    (tmp_path / "text.jsonl").write_text(json.dumps({"en": "red", "es": "rojo"}) + "\n")
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base": str(tiny_bases["gemma3"]),
            "batch_tokens": 512,
            "dev": ["dev.jsonl"],
            "annotators": True,
            "exit": {"layer": 1},
            "distillation": {"folds": 2, "rounds": 2, "epochs": 1},
            "stages": [
                {"name": "language", "translation": {"sources": ["text.jsonl"], "share": 1}},
                {
                    "name": "grades",
                    "epochs": 2,
                    "learning_rate": 3e-3,
                    "sources": [{"path": "train.jsonl"}],
                    "translation": {"sources": ["text.jsonl"], "share": 0.2},
                },
            ],
        }
    )


def otherwise(recipe: Recipe, folder: Path, data: Path) -> int:
    """For how many of the labels that a round's teachers were shown they say another grade."""
    rows, _ = rows_of("grades", recipe.stages[1].sources, [data], recipe.seed)
    folds, count = folds_of(rows, 2), 0
    for fold in range(2):
        with np.load(folder / f"teacher-{fold + 1}/grades.npz") as grades:
            likeliest = ["ESCI"[place] for place in grades["unseen"].argmax(axis=1)]
        hidden = [row.label for row, place in zip(rows, folds, strict=True) if place == fold]
        count += sum(len(a) == 1 and a != b for a, b in zip(hidden, likeliest, strict=True))
    return count


def test_rounds_are_reported_and_a_killed_run_ends_the_same(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        whole = train(recipe, tmp_path / "whole", [tmp_path])
    told = [json.loads(line) for line in (tmp_path / "whole/distillation/log.jsonl").read_text().splitlines()]
    assert [line["round"] for line in told] == [1, 2]
    assert told[0]["labelled"] == 24 * 4 + 1
    assert told[0]["graded_otherwise"] == otherwise(recipe, tmp_path / "whole/distillation/round-1", tmp_path)
    assert told[0]["graded_otherwise_share"] == round(told[0]["graded_otherwise"] / 97, 4)
    full = json.loads((tmp_path / "whole/distillation/round-1/labels.json").read_text())
    assert sum(full["kinds"].values()) == told[0]["graded_otherwise"] > 0
    assert len(full["examples"]) == min(20, told[0]["graded_otherwise"])
    for line in told:
        assert f"round {line['round']}: {line['changed']} of 97 labels change (" in caplog.text
    head = load_file(whole / "exit.safetensors")
    assert head["norm"].shape == (32,)
    assert head["rows"].shape == (4, 32)

    class KilledError(Exception):
        pass

    steps: list[Progress] = []

    def kill(progress: Progress) -> None:
        steps.append(progress)
        if len(steps) == 30:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, tmp_path / "killed", [tmp_path], on_step=kill)
    done = list((tmp_path / "killed/distillation").glob("round-*/teacher-*/grades.npz"))
    assert done, "the kill came after the first teacher"
    assert list(dict.fromkeys(step.part for step in steps))[:2] == [
        "round 1, teacher 1",
        "round 1, teacher 2",
    ]
    resumed = train(recipe, tmp_path / "killed", [tmp_path])
    for name in ("adapter_model.safetensors", "exit.safetensors"):
        a, b = load_file(whole / name), load_file(resumed / name)
        assert all(bool((a[key] == b[key]).all()) for key in a)
