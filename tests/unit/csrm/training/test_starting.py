"""A training may go on from an adapter: it takes its weights, survives a kill, and refuses what does not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from csrm.errors import InputError
from csrm.training.recipe import Recipe
from csrm.training.record import Progress
from csrm.training.run import train
from csrm.training.trainer import Trainer
from csrm_cli.main import load

from .conftest import steps_of

Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than all of it
        yield


@pytest.fixture
def first(settings: Settings, tmp_path: Path) -> Path:
    """An adapter that was trained."""
    return train(Recipe.model_validate(settings), tmp_path / "first", [tmp_path])


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def csrm(*arguments: str) -> Path:
    """The adapter that ``csrm train`` leaves."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(load(arguments[0]), arguments[1:])
    if done.exception:
        raise done.exception
    return Path(arguments[-1]) / "adapter"


def test_training_starts_from_the_adapter(settings: Settings, first: Path, tmp_path: Path) -> None:
    trainer = Trainer(Recipe.model_validate(settings), start=first)
    trained = [parameter.detach().clone() for parameter in trainer.parameters]
    assert equal(first, trainer.save(tmp_path / "untouched"))
    with torch.no_grad():
        for parameter in trainer.parameters:
            parameter.zero_()
    trainer.reset()  # as before each teacher of a round
    assert all(torch.equal(a, b) for a, b in zip(trained, trainer.parameters, strict=True))


def test_steps_go_on_where_the_first_run_ended(settings: Settings, first: Path, tmp_path: Path) -> None:
    def losses(start: str | None) -> list[float]:
        steps: list[Progress] = []
        recipe = Recipe.model_validate(settings | {"start": start})
        train(recipe, tmp_path / f"from {start is None}", [tmp_path], on_step=steps.append)
        return [step.loss for step in steps]

    from_base, from_first = losses(None), losses("first/adapter")  # relative: looked up in the data folders
    assert from_first[0] < from_base[0]


def test_a_command_that_is_killed_ends_the_same(settings: Settings, first: Path, tmp_path: Path) -> None:
    """`csrm train` in a process of its own, by a signal that it cannot see coming; here it goes on from an adapter."""
    settings["start"] = str(first)
    settings["stages"][0]["epochs"] = 15
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    command = ["train", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path), "--run"]
    whole = csrm(*command, str(tmp_path / "whole"))
    run = tmp_path / "killed"
    alone = {
        "TORCHDYNAMO_DISABLE": "1",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }  # sums as they are here
    work = subprocess.Popen(
        [Path(sys.executable).with_name("csrm"), *command, run],
        env=os.environ | alone,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while work.poll() is None and not (run / "log.jsonl").exists():
        time.sleep(0.01)
    work.kill()
    said = work.communicate()[1].decode()
    assert work.returncode == -signal.SIGKILL, said
    assert not (run / "adapter").exists()
    kept = torch.load(run / "checkpoint-only.pt")["step"]
    assert 2 <= kept < steps_of(tmp_path / "whole")[-1]
    before = len(steps_of(run))

    resumed = csrm(*command, str(run))
    expected = [step for step in steps_of(tmp_path / "whole") if step > kept]
    assert steps_of(run)[before:] == expected, "nothing is trained twice"
    assert equal(whole, resumed)
    assert not equal(whole, first)


def test_a_bundle_is_a_start(settings: Settings, first: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    manifest = {"name": "tiny", "version": 1, "base": settings["base"]}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    recipe = Recipe.model_validate(settings | {"start": str(bundle)})
    with pytest.raises(InputError, match="start: the bundle tiny@1 has no adapter"):
        train(recipe, tmp_path / "run", [tmp_path])
    (bundle / "adapter").symlink_to(first)
    train(recipe, tmp_path / "run", [tmp_path])
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"limits": {"product_tokens": 8}}))
    with pytest.raises(InputError, match="start: the bundle tiny@1 has another limits"):
        train(recipe, tmp_path / "other", [tmp_path])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": "nowhere"}, "start: nowhere is neither the folder of an adapter nor a bundle"),
        ({"lora": {"rank": 8, "alpha": 8}}, r"write lora: \{rank: 4, alpha: 8\}"),
        ({"base": "gemma3-270m"}, "was trained on .*, the base of the recipe is gemma3-270m"),
    ],
)
def test_what_does_not_fit_is_refused(
    changed: Settings, said: str, settings: Settings, first: Path, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(settings | {"start": str(first)} | changed)
    with pytest.raises(InputError, match=said):
        train(recipe, tmp_path / "run", [tmp_path])
    assert not (tmp_path / "run").exists()


def test_a_broken_or_partial_adapter_is_refused(settings: Settings, first: Path, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(settings | {"start": str(first)})
    file = first / "adapter_model.safetensors"
    whole = weights(first)
    save_file({name: tensor for name, tensor in whole.items() if "q_proj" in name}, file)
    with pytest.raises(InputError, match="does not adapt all that a recipe trains"):
        train(recipe, tmp_path / "run", [tmp_path])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="holds no adapter that fits"):
        train(recipe, tmp_path / "run", [tmp_path])
    file.unlink()
    with pytest.raises(InputError, match="holds no adapter that fits"):
        train(recipe, tmp_path / "run", [tmp_path])
    (first / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds no adapter"):
        train(recipe, tmp_path / "run", [tmp_path])


def test_a_run_is_not_continued_as_another(settings: Settings, first: Path, tmp_path: Path) -> None:
    """``first`` stands in its folder: neither other settings nor other rows may pick up its checkpoint."""
    with pytest.raises(InputError, match="begun with another batch_tokens, seed"):
        train(
            Recipe.model_validate(settings | {"seed": 1, "batch_tokens": 512}), tmp_path / "first", [tmp_path]
        )
    train_file = tmp_path / "train.jsonl"
    train_file.write_text(train_file.read_text().replace("gnome", "dwarf", 1))
    with pytest.raises(InputError, match="rows, their knowledge or the adapter to start from have changed"):
        train(Recipe.model_validate(settings), tmp_path / "first", [tmp_path])
