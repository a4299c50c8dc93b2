"""From a recipe to a measured bundle, by the commands alone, on a tiny model: each takes what the one before left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from csrm.bundle import load_bundle
from csrm_cli.main import load

from .conftest import rows_of, write_lines


def csrm(name: str, *arguments: object) -> str:
    """What the command prints; what it raises is raised."""
    with torch.compiler.set_stance("force_eager"):
        done = CliRunner(env={"COLUMNS": "160"}).invoke(load(name), [str(argument) for argument in arguments])
    if done.exception:
        raise done.exception
    return " ".join(done.output.split())


def test_a_recipe_becomes_a_measured_bundle(
    settings: dict[str, Any], tmp_path: Path, tiny_encoder: Path
) -> None:
    adapters = []
    for seed in (1, 2):
        recipe = tmp_path / f"recipe-{seed}.yaml"
        settings["checkpoint_steps"], settings["stages"][0]["epochs"] = 1_000, 15
        recipe.write_text(yaml.safe_dump(settings | {"seed": seed}))
        said = csrm("train", recipe, "--data", tmp_path, "--run", tmp_path / f"run-{seed}")
        adapters.append(tmp_path / f"run-{seed}/adapter")
        assert str(adapters[-1]) in said
    assert (adapters[0] / "asked.json").is_file()

    mean = tmp_path / "mean"
    assert "rank 8 lost at most" in csrm("average", mean, *(f"{one}=0.5" for one in adapters), "--rank", 8)
    write_lines(tmp_path / "other.jsonl", rows_of(*(f"box {i}" for i in range(30))))
    clean = write_lines(tmp_path / "clean.jsonl", rows_of(*(f"case {i}" for i in range(120))))
    encoder = tmp_path / "encoder.yaml"
    taught = {
        "sources": [{"path": "other.jsonl"}],
        "dev": ["clean.jsonl"],
        "epochs": 20,
        "learning_rate": 1e-2,
    }
    encoder.write_text(yaml.safe_dump(taught | {"rank": 4, "weight": 0.3}))
    run = tmp_path / "run-encoder"
    said = csrm("fit-encoder", encoder, mean, "--data", tmp_path, "--run", run)
    assert str(mean / "encoder.safetensors") in said
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] == 40

    plain = tmp_path / "plain"  # a bundle without notes, which would take long to look up
    plain.mkdir()
    (plain / "bundle.json").write_text(json.dumps({"name": "plain", "version": 1, "base": settings["base"]}))
    rows = ("--data", tmp_path / "other.jsonl", "--rows", 100)
    said = csrm("fit-exit", mean, *rows, "--layer", 2, "--bundle", plain)
    assert "Head after 2 layers, fitted on 100 rows" in said
    bundle = tmp_path / "bundle"
    csrm("calibrate", clean, "--adapter", mean, "--out", bundle)
    made = load_bundle(bundle).manifest
    assert (made.name, made.base) == ("tiny", settings["base"])
    assert made.exit is not None
    assert made.encoder is not None
    assert (made.exit.layer, made.encoder.weight) == (2, 0.3)
    assert made.reference

    found = tmp_path / "found.json"
    csrm("evaluate", "--bundle", bundle, "--data", clean, "--against", "zero-shot", "--json", found)
    figures = json.loads(found.read_text())
    trained, bare = figures["all"]["auc_es"], figures["against"]["all"]["auc_es"]
    assert trained["ci95"][0] > bare["ci95"][1], "it learnt nothing"
    for level in ("fast", "balanced"):
        csrm("evaluate", "--bundle", bundle, "--data", clean, "--level", level, "--json", found)
        assert json.loads(found.read_text())["level"] == level


@pytest.mark.parametrize("missing", ["train", "dev"])
def test_a_recipe_whose_rows_are_missing_trains_nothing(
    missing: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / f"{missing}.jsonl").unlink()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(settings))
    with pytest.raises(Exception, match=rf"The data file {missing}\.jsonl is in none of"):
        csrm("train", recipe, "--data", tmp_path, "--run", tmp_path / "run")
    assert not (tmp_path / "run/adapter").exists()
