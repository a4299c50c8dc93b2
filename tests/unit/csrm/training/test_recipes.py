"""Every shipped recipe is a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.training.recipe import load_recipe
from csrm.training.starting import start_of

RECIPES = sorted((Path(__file__).resolve().parents[4] / "model" / "recipes").glob("*.yaml"))


def test_there_is_one() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads(path: Path) -> None:
    assert load_recipe(path).stages


def test_a_market_starts_from_the_shipped_adapter() -> None:
    recipe = load_recipe(RECIPES[0].with_name("your-market.yaml"))
    start = start_of(recipe, [])
    assert start is not None  # rank, alpha, base, prompt and limits are those of the shipped bundle
    assert (start / "adapter_model.safetensors").is_file()
