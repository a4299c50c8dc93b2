"""A run is taken up by the recipe that it was begun with, wherever that is read; another is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from csrm.errors import InputError
from csrm.training import continuing
from csrm.training.recipe import Recipe
from csrm.training.run import train


def test_a_run_is_taken_up_by_whatever_name_its_base_has(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of Ray have other working folders than the command, and are told folders from the root."""
    base, run = Path(settings["base"]), tmp_path / "run"
    settings["stages"][0]["epochs"] = 1
    from_the_root, relative = (
        Recipe.model_validate(settings | {"base": name}) for name in (str(base), base.name)
    )
    monkeypatch.chdir(base.parent)
    with torch.compiler.set_stance("force_eager"):
        train(relative, run, [tmp_path])
        monkeypatch.chdir(tmp_path)
        steps: list[object] = []
        train(from_the_root, run, [tmp_path], on_step=steps.append)
    assert not steps, "it was at its end already"
    with pytest.raises(InputError, match="begun with another base: name another --run"):
        train(relative, run, [tmp_path])


def test_a_run_of_before_may_name_its_base_from_the_working_folder(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(settings["base"])
    monkeypatch.chdir(base.parent)
    recipe = Recipe.model_validate(settings | {"base": base.name})
    continuing.note(tmp_path, recipe, "mark")
    continuing.refuse_other_recipe(tmp_path, recipe.from_the_root())
    with pytest.raises(InputError, match="begun with another base, seed: name another --run"):
        continuing.refuse_other_recipe(tmp_path, recipe.model_copy(update={"base": "gemma3-270m", "seed": 1}))
