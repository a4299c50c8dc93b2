"""An adapter is graded with as its recipe asked, whatever bundle it is put into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from csrm.bundle import Manifest, load_bundle
from csrm.errors import InputError
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.training import relevance
from csrm.training.asked import FILE, asked_of, manifest_for, write_asked
from csrm.training.bundling import calibrated_bundle
from csrm.training.data import LabelledPair
from csrm.training.recipe import Recipe
from csrm.training.run import train
from csrm.training.starting import start_of
from csrm.training.trainer import Trainer

Settings = dict[str, Any]
PROMPT = {"prefix": "Shop {locale}\n{query}\n{knowledge}", "product": "- {product}", "suffix": "\nSo:"}


@pytest.fixture
def recipe(settings: Settings) -> Recipe:
    return Recipe.model_validate(
        settings | {"name": "mine", "version": 4, "prompt": PROMPT, "limits": {"product_tokens": 24}}
    )


@pytest.fixture
def adapter(recipe: Recipe, tmp_path: Path) -> Path:
    with torch.compiler.set_stance("force_eager"):
        return train(recipe, tmp_path / "run", [tmp_path])


@pytest.fixture
def other(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    """A bundle of another base, with the usual prompt."""
    folder = tmp_path / "other"
    folder.mkdir()
    manifest = {
        "name": "other",
        "version": 1,
        "base": str(tiny_bases["qwen3"]),
        "gains": {"E": 1, "S": 0.5, "C": 0, "I": 0},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def test_a_bundle_asks_as_the_recipe_did(recipe: Recipe, adapter: Path, other: Path, tmp_path: Path) -> None:
    rows = [LabelledPair(query=f"case {i % 7}", title=f"item {i}", label="E", locale="en") for i in range(60)]
    trainer = Trainer(recipe, device="cpu")
    trainer.load(adapter)
    with torch.compiler.set_stance("force_eager"):
        said, _ = trainer.grades(relevance.encode(rows, [[] for _ in rows], trainer.encoder))
    defect = said[:, 2:].sum(axis=1)
    labels = ["EI"[int(one > np.median(defect))] for one in defect]
    clean = tmp_path / "clean.jsonl"
    clean.write_text(
        "".join(
            row.model_copy(update={"label": label}).model_dump_json() + "\n"
            for row, label in zip(rows, labels, strict=True)
        )
    )
    made = calibrated_bundle(other, [clean], tmp_path / "made", adapter=adapter)
    assert made.name == "mine@4"
    assert (made.manifest.prompt, made.manifest.limits) == (recipe.prompt, recipe.limits)
    assert made.manifest.base == recipe.base
    assert made.manifest.gains == load_bundle(other).manifest.gains
    np.testing.assert_allclose(
        grade_rows(RelevanceModel.load(made.path, precision="fp32"), rows), said, atol=0.02
    )
    named = calibrated_bundle(other, [clean], tmp_path / "named", adapter=adapter, name="a-name", version=9)
    assert named.name == "a-name@9"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """What stands beside the weights of an adapter."""
    folder = tmp_path / "written"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "hub/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stage = {"name": "only", "sources": [{"path": "rows"}]}
    settings = {"name": "mine", "base": "hub/base", "prompt": PROMPT, "stages": [stage], "dev": ["dev"]}
    write_asked(Recipe.model_validate(settings), folder)
    return folder


def test_an_adapter_that_does_not_say_takes_the_words_of_its_own_base_only(written: Path) -> None:
    own, other = (Manifest(name="old", version=1, base=base) for base in ("hub/base", "hub/other"))
    assert manifest_for(written, other).prompt.suffix == PROMPT["suffix"]
    (written / FILE).unlink()
    assert manifest_for(written, own) == own
    with pytest.raises(InputError, match=r"was trained on hub/base, and no asked\.json beside it says"):
        manifest_for(written, other)


def test_what_is_broken_is_named(written: Path) -> None:
    said = json.loads((written / FILE).read_text())
    (written / FILE).write_text(json.dumps(said | {"limits": {"product_tokens": 1}}))
    with pytest.raises(InputError, match=r"asked\.json, limits\.product_tokens"):
        asked_of(written)


def test_a_training_does_not_start_from_an_adapter_that_was_asked_otherwise(written: Path) -> None:
    stage = {"name": "only", "sources": [{"path": "rows"}]}
    settings = {"name": "next", "base": "hub/base", "lora": {"rank": 4, "alpha": 8}, "start": str(written)}
    recipe = Recipe.model_validate(settings | {"stages": [stage], "dev": ["dev"]})
    with pytest.raises(InputError, match=r"start: .* was trained with another prompt than the recipe's"):
        start_of(recipe, [])
    assert start_of(recipe.model_copy(update={"prompt": asked_of(written).prompt}), []) == written  # type: ignore[union-attr]
