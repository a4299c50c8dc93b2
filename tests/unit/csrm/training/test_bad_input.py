"""What goes wrong in a training is told in a sentence, and what was reached before is kept."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from csrm.errors import InputError, TrainingError
from csrm.training import relevance
from csrm.training.data import LabelledPair, read_pairs
from csrm.training.heads import ExitHead
from csrm.training.recipe import Recipe
from csrm.training.record import Progress
from csrm.training.run import train
from csrm.training.trainer import Trainer

Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than all of it
        yield


def steps_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["step"])


def row(query: str, title: str, label: str) -> str:
    return json.dumps({"query": query, "title": title, "label": label, "locale": "en"}) + "\n"


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_state(
    settings: Settings, tmp_path: Path
) -> None:
    # Rises until nothing is finite.
    settings["stages"][0] |= {"warmup": 0.9, "epochs": 40, "learning_rate": 1e36}
    with pytest.raises(
        TrainingError, match=r"no longer a number at step .*lower its learning_rate"
    ) as raised:
        train(Recipe.model_validate(settings), tmp_path / "run", [tmp_path])
    assert "No step of the stage was kept" in str(raised.value)
    assert not list((tmp_path / "run").glob("checkpoint*"))


def test_weights_that_are_spoilt_are_told_and_the_last_good_ones_can_be_gone_on_from(
    settings: Settings, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(settings)
    trainer = Trainer(recipe, device="cpu")
    rows = read_pairs(tmp_path / "train.jsonl")
    examples = relevance.encode(rows, [[] for _ in rows], trainer.encoder)

    def spoil(progress: Progress) -> None:
        if progress.step == 4:  # what an overflow would do to the weights
            with torch.no_grad():
                trainer.parameters[0].fill_(float("nan"))

    with pytest.raises(TrainingError, match="Step 4 is kept") as raised:
        trainer.fit(recipe.stages[0], examples, [], tmp_path / "run", on_step=spoil)
    assert steps_of(tmp_path / "run/checkpoint-only.pt") == 4
    kept = str(raised.value).rpartition("start: ")[2].removesuffix(".")
    assert all(bool(t.isfinite().all()) for t in load_file(Path(kept) / "adapter_model.safetensors").values())
    train(recipe.model_copy(update={"start": kept}), tmp_path / "gentler", [tmp_path])


def test_a_later_stage_that_is_spoilt_at_once_names_the_adapter_before_it(
    settings: Settings, tmp_path: Path
) -> None:
    spoilt = settings["stages"][0] | {"name": "spoilt", "learning_rate": 1e36}
    recipe = Recipe.model_validate(
        settings | {"stages": [settings["stages"][0], spoilt], "checkpoint_steps": 50}
    )
    with pytest.raises(TrainingError, match="stage spoilt is no longer a number") as raised:
        train(recipe, tmp_path / "run", [tmp_path])
    start = str(raised.value).rpartition("start: ")[2].removesuffix(".")
    assert start == str((tmp_path / "run/only/adapter").resolve())
    train(Recipe.model_validate(settings | {"start": start}), tmp_path / "again", [tmp_path])


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_checkpoint_and_the_same_command_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(settings)
    whole = train(recipe, tmp_path / "whole", [tmp_path])

    def fill(progress: Progress) -> None:
        if progress.step == 3:
            size = (tmp_path / "full/checkpoint-only.pt").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        files_of_at_most(soft),
        pytest.raises(TrainingError, match=r"full cannot be written to \(.+\): make room there"),
    ):
        train(recipe, tmp_path / "full", [tmp_path], on_step=fill)
    assert not list((tmp_path / "full").glob("*.part"))
    assert steps_of(tmp_path / "full/checkpoint-only.pt") == 2
    resumed = train(recipe, tmp_path / "full", [tmp_path])
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_adapter_that_finds_no_room_is_told(settings: Settings, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(settings)
    train(recipe, tmp_path / "run", [tmp_path])  # nothing is left to train: the adapter is written again
    for file in (tmp_path / "run/adapter").iterdir():
        file.unlink()
    with files_of_at_most(4096), pytest.raises(TrainingError, match="run cannot be written to"):
        train(recipe, tmp_path / "run", [tmp_path])
    train(recipe, tmp_path / "run", [tmp_path])
    assert load_file(tmp_path / "run/adapter/adapter_model.safetensors")


def test_a_broken_checkpoint_is_named(settings: Settings, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(settings)
    train(recipe, tmp_path / "run", [tmp_path])
    file = tmp_path / "run/checkpoint-only.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint-only\.pt is broken or of another training"):
        train(recipe, tmp_path / "run", [tmp_path])


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("train", lambda text: "", r"The data file .*train\.jsonl is empty"),
        ("dev", lambda text: "\n\n", r"The data file .*dev\.jsonl is empty"),
        ("train", lambda text: text + row("q", "t", "X"), r"train\.jsonl, line 33, field label"),
        ("dev", lambda text: text + row("q", "t", "EI"), r"dev\.jsonl, line 17, field label"),
        ("train", lambda text: text + row("q", "t", "EE"), r"line 33, field label.*EE names a grade twice"),
        ("train", lambda text: text.replace('"en"', '" "', 1), r"train\.jsonl, line 1, field locale"),
        (
            "train",
            lambda text: row("q", "t", "E") + row("q", "u", "S"),
            r"stages: all rows are relevant \(E, S\)",
        ),
        ("train", lambda text: row("q", "t", "I"), r"stages: all rows are irrelevant \(C, I\)"),
        ("dev", lambda text: row("q", "t", "E"), r"dev: all rows are relevant"),
        (
            "train",
            lambda text: text + row("COVER  0", "red  case cover 0", "I"),
            r"1 held-out pairs are in the training rows, e\.g\. 'COVER  0'",
        ),
    ],
)
def test_bad_rows_train_nothing(
    name: str, change: Callable[[str], str], said: str, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / f"{name}.jsonl"
    file.write_text(change(file.read_text()))
    with pytest.raises(InputError, match=said):
        train(Recipe.model_validate(settings), tmp_path / "run", [tmp_path])
    assert not (tmp_path / "run").exists()


def test_repeated_and_contradicting_rows_are_counted(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text(
        file.read_text() + row("case 0", "Red case case 0", "E") + row("CASE 0", "red case case 0", "I")
    )
    with caplog.at_level("INFO"):
        train(Recipe.model_validate(settings), tmp_path / "run", [tmp_path])
    assert "34 rows, 32 unique; of the 2 repeated ones 1 contradict the first, which stays" in caplog.text


def test_a_title_of_20000_characters_is_trained_on_and_cut(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    long = "手機殼" * 7_000
    file.write_text(file.read_text() + row("long", "gnome " * 3_333, "I") + row(long, long, "E"))
    recipe = Recipe.model_validate(settings)
    train(recipe, tmp_path / "run", [tmp_path])
    encoder = Trainer(recipe, device="cpu").encoder
    pair = LabelledPair(query=long, title=long, label="E", locale="zh-TW")
    (example,) = relevance.encode([pair], [[]], encoder)
    assert len(example.ids) < 400


def test_what_a_round_cannot_write_is_told_and_gone_on_from(settings: Settings, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(settings | {"distillation": {"folds": 2, "rounds": 1, "epochs": 1}})
    folder = tmp_path / "run/distillation/round-1"
    in_the_way = [folder / "teacher-1/part.npz", folder / "labels.json"]
    for path in in_the_way:
        path.mkdir(parents=True)
        with pytest.raises(TrainingError, match=r"cannot be written to \(Is a directory\): make room"):
            train(recipe, tmp_path / "run", [tmp_path])
        path.rmdir()
    train(recipe, tmp_path / "run", [tmp_path])
    assert json.loads((folder / "labels.json").read_text())["labelled"] == 32


def test_a_head_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    head = ExitHead(torch.ones(8), torch.ones(4, 8))
    head.save(tmp_path, 2)
    before = (tmp_path / "exit.safetensors").read_bytes()
    with files_of_at_most(64), pytest.raises((OSError, SafetensorError)):
        head.save(tmp_path, 3)
    assert (tmp_path / "exit.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["exit.safetensors"]
