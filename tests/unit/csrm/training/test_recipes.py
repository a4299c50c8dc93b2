"""Every shipped recipe is a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[4] / "model" / "recipes").glob("*.yaml"))


def test_there_is_one() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads(path: Path) -> None:
    assert load_recipe(path).stages
