"""What the workers of a training are told, and what is told of one that failed; no cluster is started here."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from csrm.errors import InputError
from csrm.training.recipe import Recipe
from csrm_cli.ray_training import from_the_root, own_words


def failure(error: Exception) -> Exception:
    """As Ray brings it from a worker."""
    try:
        raise error
    except Exception as raised:
        return UserExceptionWithTraceback(raised, traceback.format_exc())


def test_a_worker_is_heard_in_its_own_words_before_those_it_left_alone() -> None:
    lost, said = failure(RuntimeError("Connection closed by peer")), failure(InputError("dev: 2 rows leak."))
    assert own_words(WorkerGroupError("two failed", {0: lost, 1: said})) == "dev: 2 rows leak."
    assert own_words(WorkerGroupError("one failed", {0: lost})) == "RuntimeError: Connection closed by peer"
    assert own_words(ValueError("no room for the workers")) == "no room for the workers"
    assert own_words(ValueError()) == "ValueError"


def test_folders_are_named_from_the_root_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    monkeypatch.chdir(tmp_path)
    stage = {"name": "only", "sources": [{"path": "rows"}]}
    settings = {"name": "x", "base": "base", "start": "adapter", "stages": [stage], "dev": ["dev"]}
    recipe = Recipe.model_validate(settings)
    found = from_the_root(recipe)
    assert (found.base, found.start) == (str(tmp_path / "base"), str(tmp_path / "adapter"))
    named = recipe.model_copy(update={"base": "hub/base", "start": "csrm-gemma3-270m"})
    assert from_the_root(named) == named
