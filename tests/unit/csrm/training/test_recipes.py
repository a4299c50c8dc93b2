"""Every shipped recipe is a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.errors import InputError
from csrm.training.data import TrainingRow, read_pairs
from csrm.training.recipe import EncoderRecipe, load_recipe
from csrm.training.run import under
from csrm.training.starting import start_of

SHIPPED = sorted((Path(__file__).resolve().parents[4] / "model" / "recipes").glob("*.yaml"))
ENCODERS = [path for path in SHIPPED if path.stem == "e5-small"]
RECIPES = [path for path in SHIPPED if path not in ENCODERS]


def test_there_are_some() -> None:
    assert RECIPES
    assert ENCODERS


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads(path: Path) -> None:
    assert load_recipe(path).stages


@pytest.mark.parametrize("path", ENCODERS, ids=lambda path: path.stem)
def test_that_of_an_encoder_loads(path: Path) -> None:
    assert load_recipe(path, EncoderRecipe).sources
    with pytest.raises(InputError, match="recipe"):
        load_recipe(path)


def test_a_market_starts_from_the_shipped_adapter() -> None:
    recipe = load_recipe(RECIPES[0].with_name("your-market.yaml"))
    start = start_of(recipe, [])
    assert start is not None  # rank, alpha, base, prompt and limits are those of the shipped bundle
    assert (start / "adapter_model.safetensors").is_file()


def test_a_shipped_recipe_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe("your-market").name == "your-market"
    with pytest.raises(InputError, match=r"your-markt does not exist, .* shipped ones: .*, your-market\."):
        load_recipe("your-markt")
    (tmp_path / "your-market").write_text("name: mine\n")
    with pytest.raises(InputError, match="recipe your-market, stages"):  # a file of the user's comes first
        load_recipe("your-market")


def test_the_shipped_rows_come_after_the_users(tmp_path: Path) -> None:
    assert read_pairs(under([tmp_path], Path("graded.jsonl")), TrainingRow)
    (tmp_path / "graded.jsonl").touch()
    assert under([tmp_path], Path("graded.jsonl")) == tmp_path / "graded.jsonl"
    with pytest.raises(InputError, match=r"nowhere.jsonl is in none of .*, and no shipped file"):
        under([tmp_path], Path("nowhere.jsonl"))


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
