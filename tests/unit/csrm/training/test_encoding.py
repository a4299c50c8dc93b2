"""Training the cross-encoder: it learns, goes on after a kill as if there had been none, and names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from csrm.encoder.bert import LINEAR
from csrm.encoder.cross_encoder import CrossEncoder, encode_pairs, weight_of
from csrm.encoder.e5 import installed
from csrm.errors import InputError, TrainingError
from csrm.training.encoder_trainer import CHECKPOINT, EncoderTrainer, Row, target_of
from csrm.training.encoding import fit_encoder
from csrm.training.recipe import EncoderRecipe
from csrm.training.record import Progress

TOPICS = (
    ("desk lamp", "Desk lamp, black", "Phone case, black"),
    ("phone case", "Phone case for iPhone 15", "Desk lamp with dimmer"),
    ("red kettle", "Kettle, red, 1.7 l", "Running shoes, red"),
    ("running shoes", "Running shoes for men, 42", "Electric kettle 1 l"),
)
ROWS = [
    {"query": query, "title": title, "label": label, "locale": "en", "label_by": by}
    for query, right, wrong in TOPICS
    for title, label, by in ((right, "E", "human"), (wrong, "I", "author"), (f"{wrong}, new", "CI", "shop"))
]
DEV = [
    {"query": "tea cup", "title": title, "label": label, "locale": "en"}
    for title, label in (("Cup", "E"), ("Pen", "I"))
]


def write(folder: Path, name: str, rows: Sequence[dict[str, str]]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, "rows.jsonl", ROWS)
    write(folder, "dev.jsonl", DEV)
    (tmp_path / "adapter").mkdir()
    return folder


def recipe(**settings: object) -> EncoderRecipe:
    plain = {
        "sources": [{"path": "rows.jsonl"}],
        "dev": ["dev.jsonl"],
        "epochs": 2,
        "rank": 2,
        "batch_rows": 4,
        "warmup": 0.04,
        "checkpoint_steps": 2,
    }
    return EncoderRecipe.model_validate(plain | settings)


def fit(data: Path, settings: EncoderRecipe, run: str = "run", **options: object) -> Path:
    home = data.parent
    return fit_encoder(settings, home / "adapter", [data], home / run, **options)  # type: ignore[arg-type]


def test_it_learns(data: Path) -> None:
    steps: list[Progress] = []
    file = fit(data, recipe(epochs=20, learning_rate=1e-2, weight=0.25), on_step=steps.append)
    assert file == data.parent / "adapter" / "encoder.safetensors"
    assert weight_of(file) == 0.25
    assert [step.step for step in steps] == list(range(1, 61))
    assert {step.steps for step in steps} == {60}
    assert steps[-1].loss < steps[0].loss / 2
    assert steps[-1].seconds_left == 0
    encoder = CrossEncoder.load(file, "fp32", torch.device("cpu"))
    logits = encoder.logits([encoder.encode(row["query"], [row["title"]])[0] for row in ROWS]).numpy()
    relevant = np.logaddexp(*logits.T[:2]) - np.logaddexp(*logits.T[2:])
    right = np.array([row["label"] == "E" for row in ROWS])
    assert relevant[right].min() > relevant[~right].max()
    assert load_file(file)[f"layer.0.{LINEAR[0]}.A"].dtype == torch.bfloat16
    log = [json.loads(line) for line in (data.parent / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(2, 61, 2))
    assert all({"loss", "tokens_per_s", "dev_auc_es"} <= line.keys() for line in log)
    assert (data.parent / "run/curves.png").read_bytes().startswith(b"\x89PNG")


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_end(data: Path) -> None:
    def kill(at: Progress) -> None:
        if at.step == 5:  # after the checkpoint of step 4
            raise Killed

    expected = fit(data, recipe(), "whole").read_bytes()
    with pytest.raises(Killed):
        fit(data, recipe(), on_step=kill)
    steps: list[Progress] = []
    assert fit(data, recipe(), on_step=steps.append).read_bytes() == expected
    assert steps[0].step == 5


def test_notes_are_trained_with(data: Path) -> None:
    line = {"id": "kettle", "kind": "term", "term": "red kettle", "meaning": "boils water", "source": "me"}
    (data / "entries.jsonl").write_text(json.dumps(line) + "\n")
    notes = {"entries": ["entries.jsonl"], "from_rows": False, "dropout": 0, "wrong": 0}
    plain = fit(data, recipe(), "plain").read_bytes()
    assert fit(data, recipe(knowledge=notes), "told").read_bytes() != plain


ROUNDS = {"folds": 2, "rounds": 1}


def test_labels_are_refined_by_teachers_and_a_killed_round_goes_on(data: Path) -> None:
    plain = fit(data, recipe(), "plain").read_bytes()
    parts: list[str] = []
    expected = fit(data, recipe(distillation=ROUNDS), "whole", on_step=lambda at: parts.append(at.part))
    expected_bytes = expected.read_bytes()
    assert expected_bytes != plain
    names = ["round 1, teacher 1", "round 1, teacher 2"]
    assert list(dict.fromkeys(parts)) == [*names, ""]
    told = json.loads((data.parent / "whole/distillation/round-1/labels.json").read_text())
    assert told["labelled"] == 8  # of the other four nobody said which of two grades they are

    def kill(at: Progress) -> None:
        if at.part == names[1] and at.step == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(data, recipe(distillation=ROUNDS), on_step=kill)
    again: list[str] = []
    file = fit(data, recipe(distillation=ROUNDS), on_step=lambda at: again.append(at.part))
    assert file.read_bytes() == expected_bytes
    assert names[0] not in again


def test_teachers_never_see_their_fold(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row whose label says the contrary of all others of its kind: who has not seen it grades it as the others."""
    others = [
        {**row, "query": f"{row['query']} {i}"} for i in range(6) for row in ROWS if len(row["label"]) == 1
    ]
    wrong = [{**ROWS[0], "label": "I"}]
    write(data, "rows.jsonl", [*others, *wrong])
    with caplog.at_level("INFO"):
        fit(data, recipe(epochs=15, learning_rate=1e-2, distillation=ROUNDS | {"noise": 0.4}))
    told = json.loads((data.parent / "run/distillation/round-1/labels.json").read_text())
    assert [(one["query"], one["title"], one["given"]) for one in told["examples"]] == [
        ("desk lamp", "Desk lamp, black", "I")
    ]
    assert told["examples"][0]["teachers"]["E"] > 0.5
    assert "round 1: 1 of 49 labels change (2.0%): I -> E 1; teachers alone" in caplog.text
    assert "round 1: I -> E: desk lamp | Desk lamp, black" in caplog.messages
    (line,) = (data.parent / "run/distillation/log.jsonl").read_text().splitlines()
    assert json.loads(line)["changed_kinds"] == {"I -> E": 1}
    environment = json.loads((data.parent / "run/environment.json").read_text())
    assert environment["threads"] == torch.get_num_threads()


def test_soft_labels_of_a_source_are_mixed_in(data: Path) -> None:
    np.savez(data / "grades.npz", grades=np.full((len(ROWS), 4), 0.25, dtype=np.float32))
    plain = fit(data, recipe(), "plain").read_bytes()
    assert (
        fit(data, recipe(sources=[{"path": "rows.jsonl", "grades": "grades.npz"}]), "soft").read_bytes()
        != plain
    )


def test_a_run_of_another_recipe_is_not_gone_on_with(data: Path) -> None:
    fit(data, recipe())
    with pytest.raises(InputError, match="another recipe"):
        fit(data, recipe(learning_rate=1e-4))
    (data.parent / "run" / CHECKPOINT).write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        fit(data, recipe())


def test_a_run_of_other_rows_is_not_gone_on_with(data: Path) -> None:
    fit(data, recipe())
    write(data, "rows.jsonl", [*ROWS, {**ROWS[0], "title": "Lamp", "label_by": "someone"}])
    with pytest.raises(InputError, match="have changed"):
        fit(data, recipe())


def test_dev_rows_are_not_trained_on(data: Path) -> None:
    write(data, "rows.jsonl", [*ROWS, DEV[0]])
    with pytest.raises(InputError, match="tea cup"):
        fit(data, recipe())


def test_rows_of_one_kind_teach_nothing(data: Path) -> None:
    write(data, "rows.jsonl", [row for row in ROWS if row["label"] == "E"])
    with pytest.raises(InputError, match="all rows are relevant"):
        fit(data, recipe())


def test_a_loss_that_is_no_number_ends_it_and_leaves_what_there_was(data: Path) -> None:
    before = fit(data, recipe()).read_bytes()
    with pytest.raises(TrainingError, match="not a number"):
        fit(data, recipe(learning_rate=1e30), "wild")
    assert (data.parent / "adapter" / "encoder.safetensors").read_bytes() == before


def test_a_batch_whose_rows_all_get_the_same_grades_ends_it(data: Path) -> None:
    settings = recipe(warmup=0, checkpoint_steps=1)
    trainer = EncoderTrainer(installed(), settings)
    alike = [
        Row(ids, "human", target_of(label))
        for ids, label in zip(
            encode_pairs(trainer.tokenizer, [("lamp", [], "a b c")] * 8), "EISCEISC", strict=True
        )
    ]
    run = data.parent / "run"
    with pytest.raises(TrainingError, match="step 1 all rows get the same grades"):
        trainer.fit([alike], run)
    assert not (run / CHECKPOINT).exists()


@pytest.mark.parametrize("steps", [5, 20])
def test_a_short_training_is_not_all_warm_up(data: Path, steps: int) -> None:
    settings = recipe(warmup=0.4, learning_rate=1e-3)
    trainer = EncoderTrainer(installed(), settings)
    pairs = encode_pairs(trainer.tokenizer, [("lamp", [], "a red lamp"), ("lamp", [], "glue")])
    batch = [Row(ids, "human", target_of(label)) for ids, label in zip(pairs, "EI", strict=True)]
    rates: list[float] = []
    trainer.fit(
        [batch] * steps,
        data.parent / "run",
        on_step=lambda _: rates.append(max(group["lr"] for group in trainer._optimizer.param_groups)),
    )
    highest = int(np.argmax(rates)) + 1
    assert highest == 0.4 * steps
    assert rates[-1] < 0.3 * max(rates)


def test_an_adapter_that_is_not_there_is_named_before_anything_is_trained(data: Path) -> None:
    (data.parent / "adapter").rmdir()
    with pytest.raises(InputError, match="is no folder"):
        fit(data, recipe())
    assert not (data.parent / "run").exists()


@pytest.mark.parametrize("settings", [{"sources": []}, {"rank": 0}, {"weight": 1}, {"speed": 2}])
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        recipe(**settings)
