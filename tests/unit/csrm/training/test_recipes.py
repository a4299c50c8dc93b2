"""Every shipped recipe is a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.errors import InputError
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


RECIPE = "name: tiny\ndev: [dev.jsonl]\nstages: [{name: only, sources: [{path: train.jsonl}]}]\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"r\.yaml is empty"),
        (b"- one\n", r"r\.yaml holds no settings"),
        ("name: caf\u00e9\n".encode("latin-1"), r"r\.yaml is not UTF-8: .* at byte 9"),
        (RECIPE.replace("]}]", "], knowledge: {dropout: 0.8, wrong: 0.3}}]").encode(), "more than all rows"),
    ],
)
def test_a_faulty_recipe_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert load_recipe(tmp_path / "r.yaml").name == "tiny"
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_recipe(tmp_path / "r.yaml")
