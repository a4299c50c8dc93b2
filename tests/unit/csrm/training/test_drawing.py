"""A share of a source by whole queries, and soft labels beside it: drawn alike, mixed, resumed the same, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from csrm.errors import InputError
from csrm.training.data import TrainingRow, normalise
from csrm.training.drawing import drawn, read_grades
from csrm.training.recipe import DataSource, Recipe, Stage
from csrm.training.record import Progress
from csrm.training.run import rows_of, train

Settings = dict[str, Any]


def rows(name: str, queries: int, each: int) -> list[TrainingRow]:
    return [
        TrainingRow(query=f"{name} {i % queries}", title=f"t{i}", label="E", locale="en")
        for i in range(queries * each)
    ]


def test_whole_queries_are_drawn_and_by_the_seed() -> None:
    found = rows("q", 100, 3)
    kept = drawn(found, 0.4, 1, normalise)
    assert len(kept) == 120
    assert kept == sorted(kept) == drawn(found, 0.4, 1, normalise)
    queries = {found[place].query for place in kept}
    assert len(queries) == 40, "three rows each"
    assert {found[place].query for place in drawn(found, 0.4, 2, normalise)} != queries
    assert drawn(found, 1, 1, normalise) == list(range(300))


def test_translations_are_drawn_alike_in_every_file(tmp_path: Path) -> None:
    for name in ("en", "ko"):
        of_file = [
            TrainingRow(query=f"{name} {i}", query_en=f"en {i}", title=f"{name} t{i}", label="E", locale=name)
            for i in range(50)
        ]
        (tmp_path / name).write_text("".join(row.model_dump_json() + "\n" for row in of_file))
    stage = Stage.model_validate(
        {"name": "only", "sources": [{"path": name, "share": 0.3} for name in ("en", "ko")]}
    )
    found, _ = rows_of(stage.name, stage.sources, [tmp_path], 3)
    en, ko = ({row.query[3:] for row in found if row.locale == locale} for locale in ("en", "ko"))
    assert en == ko and len(en) == 15


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.01}, "share"),
        ({"weight": 0.5}, "weight is that of soft labels"),
        ({"grades": "g.npz", "weight": 0}, "weight"),
    ],
)
def test_a_wrong_setting_is_named(source: Settings, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        DataSource.model_validate({"path": "x"} | source)


EVEN = np.full((3, 4), 0.25, dtype=np.float32)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (EVEN[:2], r"holds \(2, 4\), but its source has 3 rows"),
        (EVEN[:, :3], r"it must be \(3, 4\)"),
        (np.where(np.arange(3)[:, None] == 1, np.nan, EVEN), "row 2: .*no probabilities"),
        (EVEN * 2, "row 1: .*no probabilities"),
        (np.array([[0.25] * 4, [1.5, -0.5, 0, 0], [0.25] * 4]), "row 2: .*no probabilities"),
    ],
)
def test_soft_labels_of_no_sense_are_named(content: np.ndarray, named: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", grades=content)
    with pytest.raises(InputError, match=named):
        read_grades(tmp_path / "g.npz", 3)


def test_a_file_that_holds_no_soft_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grades: .*none\.npz does not exist"):
        read_grades(tmp_path / "none.npz", 3)
    (tmp_path / "text.npz").write_text("no array")
    np.savez(tmp_path / "other.npz", unseen=EVEN)
    for name in ("text.npz", "other.npz"):
        with pytest.raises(InputError, match=f"{name} is no NPZ file with an array named grades"):
            read_grades(tmp_path / name, 3)


class KilledError(Exception):
    pass


def test_a_killed_run_with_soft_labels_ends_the_same_and_other_labels_are_refused(
    settings: Settings, tmp_path: Path
) -> None:
    grades = np.random.default_rng(1).dirichlet(np.ones(4), 32)
    np.savez(tmp_path / "g.npz", grades=grades)
    source = {"path": "train.jsonl", "share": 0.5, "grades": "g.npz", "weight": 0.75}
    settings["stages"][0]["sources"] = [source]
    recipe = Recipe.model_validate(settings)
    found, soft = rows_of(recipe.stages[0].name, recipe.stages[0].sources, [tmp_path], recipe.seed)
    assert len(found) == 16 and soft.keys() == {row.key for row in found}

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            raise KilledError

    with torch.compiler.set_stance("force_eager"):
        whole = train(recipe, tmp_path / "whole", [tmp_path])
        with pytest.raises(KilledError):
            train(recipe, tmp_path / "killed", [tmp_path], on_step=kill)
        resumed = train(recipe, tmp_path / "killed", [tmp_path])
        a, b = (load_file(folder / "adapter_model.safetensors") for folder in (whole, resumed))
        assert all(torch.equal(a[name], b[name]) for name in a)
        np.savez(tmp_path / "g.npz", grades=np.roll(grades, 1, axis=1))
        with pytest.raises(InputError, match=r"The rows, their knowledge or .* have changed"):
            train(recipe, tmp_path / "killed", [tmp_path])
