"""An early exit fitted to a trained adapter: it says what the whole model says, and leaves the model alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csrm.bundle import ENCODER_FILE, EXIT_FILE
from csrm.errors import BundleError, InputError
from csrm.model import mixed
from csrm.training import relevance
from csrm.training.exiting import fit_exits
from csrm.training.recipe import Recipe
from csrm.training.run import fit_exit
from csrm.training.trainer import Trainer


@pytest.fixture
def trainer(tiny_bases: dict[str, Path]) -> Trainer:
    source = {"name": "none", "sources": [{"path": "none"}]}
    recipe = {"name": "tiny", "base": str(tiny_bases["gemma3"]), "stages": [source], "dev": ["none"]}
    with torch.compiler.set_stance("force_eager"):
        return Trainer(Recipe.model_validate(recipe))


def random_examples() -> list[relevance.Example]:
    chance = np.random.default_rng(3)
    return [
        relevance.Example(list(map(int, chance.integers(3, 200, 12))), (1.0, 0.0, 0.0, 0.0))
        for _ in range(900)
    ]


def test_the_exit_says_what_the_model_says(trainer: Trainer) -> None:
    # Answers apart enough that there is something to say.
    trainer.label_rows = trainer.label_rows * 200
    examples = random_examples()
    with torch.compiler.set_stance("force_eager"):
        heads = fit_exits(trainer, examples[:700], [1, 2])
        grades, residuals = trainer.states(examples[700:], [1, 2])
    assert len(set(grades.argmax(axis=1))) > 1
    agreed = {}
    for layer, head in heads.items():
        early = head(torch.from_numpy(residuals[layer]), trainer.epsilon).detach().numpy()
        agreed[layer] = (early.argmax(axis=1) == grades.argmax(axis=1)).mean()
    commonest = np.bincount(grades.argmax(axis=1)).max() / len(grades)
    assert agreed[2] > commonest + 0.05
    assert agreed[2] >= agreed[1] - 0.02  # the later, the surer


def test_the_exit_says_what_model_and_encoder_say_together(trainer: Trainer) -> None:
    trainer.label_rows = trainer.label_rows * 200
    examples = random_examples()
    with torch.compiler.set_stance("force_eager"):
        grades, residuals = trainer.states(examples, [2])
        other = np.ascontiguousarray(grades[:, ::-1])  # an encoder that says E where the model says I
        heads = fit_exits(trainer, examples[:700], [2], beside=(other[:700], 0.8))
    early = heads[2](torch.from_numpy(residuals[2][700:]), trainer.epsilon).detach().numpy().argmax(axis=1)
    both = mixed(grades, other, 0.8)[700:].argmax(axis=1)
    commonest = np.bincount(both).max() / len(both)
    assert (early == both).mean() > commonest + 0.05
    assert (early == grades[700:].argmax(axis=1)).mean() < commonest


def test_an_adapter_gets_its_head(
    trainer: Trainer, tmp_path: Path, tiny_bases: dict[str, Path], tiny_encoder: Path
) -> None:
    adapter = trainer.save(tmp_path)
    before = (adapter / "adapter_model.safetensors").read_bytes()
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    manifest = {"name": "tiny", "version": 1, "base": str(tiny_bases["gemma3"])}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    rows = [{"query": f"case {i}", "title": f"thing {i}", "label": "E", "locale": "en"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with torch.compiler.set_stance("force_eager"):
        assert fit_exit(adapter, bundle, [tmp_path / "rows.jsonl"], 2, 30) == 30
    head = load_file(adapter / EXIT_FILE)
    assert head["norm"].shape == (32,)
    assert head["rows"].shape == (4, 32)
    assert (adapter / "adapter_model.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="holds no adapter"):
        fit_exit(tmp_path / "nowhere", bundle, [tmp_path / "rows.jsonl"], 2, 30)
    with pytest.raises(InputError, match="base has 3 layers"):
        fit_exit(adapter, bundle, [tmp_path / "rows.jsonl"], 3, 30)

    shutil.copy(tiny_encoder, adapter / ENCODER_FILE)
    heads = []
    for place in (adapter, bundle):
        with torch.compiler.set_stance("force_eager"):
            fit_exit(adapter, bundle, [tmp_path / "rows.jsonl"], 2, 30)
        heads.append(load_file(adapter / EXIT_FILE))
        if place == adapter:  # from here on it is the bundle's
            (adapter / ENCODER_FILE).rename(bundle / ENCODER_FILE)
            (bundle / "bundle.json").write_text(
                json.dumps(manifest | {"encoder": {"weight": 0.5}, "exit": {"layer": 0}})
            )
    assert (heads[0]["rows"] - head["rows"]).abs().max() > 1e-3
    assert torch.equal(heads[0]["rows"], heads[1]["rows"])
    (adapter / ENCODER_FILE).write_bytes(b"broken")
    with pytest.raises(BundleError, match="cannot be read"):
        fit_exit(adapter, bundle, [tmp_path / "rows.jsonl"], 2, 30)
