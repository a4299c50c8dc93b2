"""Names in a recipe are those of checkpoints, folders and bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from csrm.errors import InputError
from csrm.training.recipe import Recipe, load_recipe


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b", "a"], r"stages: .*two stages are called a"),
        (["a/b"], r"stages\.0\.name"),
        (["../a"], r"stages\.0\.name"),
        ([""], r"stages\.0\.name"),
        (["adapter"], r"stages: .*may not be called adapter"),
    ],
)
def test_stages_have_plain_names_of_their_own(names: list[str], said: str, tmp_path: Path) -> None:
    """Each is the name of a checkpoint that the stage goes on from."""
    stages = [{"name": name, "sources": [{"path": "rows.jsonl"}]} for name in names]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "x", "dev": ["dev.jsonl"], "stages": stages}))
    with pytest.raises(InputError, match=said):
        load_recipe(recipe)


@pytest.mark.parametrize("name", ["my shop", "a/b", ""])
def test_the_name_of_a_recipe_can_be_that_of_a_bundle(name: str, tmp_path: Path) -> None:
    stages = [{"name": "only", "sources": [{"path": "rows.jsonl"}]}]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": name, "dev": ["dev.jsonl"], "stages": stages}))
    with pytest.raises(InputError, match=r"yaml, name: "):
        load_recipe(recipe)


def test_folders_are_named_from_the_root_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    monkeypatch.chdir(tmp_path)
    stage = {"name": "only", "sources": [{"path": "rows"}]}
    settings = {"name": "x", "base": "base", "start": "adapter", "stages": [stage], "dev": ["dev"]}
    recipe = Recipe.model_validate(settings)
    found = recipe.from_the_root()
    assert (found.base, found.start) == (str(tmp_path / "base"), str(tmp_path / "adapter"))
    named = recipe.model_copy(update={"base": "hub/base", "start": "csrm-gemma3-270m"})
    assert named.from_the_root() == named
