"""``make model``: the script itself and the shipped recipes, on a few rows of every file and a tiny base."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from numpy.typing import NDArray
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from csrm import bundle
from csrm.bundle import ENCODER_FILE, EXIT_FILE, load_bundle
from csrm.evaluation.grading import grade_rows
from csrm.model import RelevanceModel
from csrm.scoring import integers
from csrm.training import augmentation
from csrm.training.data import read_pairs
from csrm_cli.main import load
from demo.shop import training as shop
from tests.unit.csrm.conftest import SHAPE, tokenizer

from .conftest import rows_of

REPOSITORY = Path(__file__).resolve().parents[4]
SHIPPED = "csrm-gemma3-270m"

PROGRAM = """#!/usr/bin/env bash
# Stands in for python and csrm, whose imports would take longer than all that they do here: writes down what it was
# asked. Whether the processor multiplies integers, it answers.
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\n'; } >> "$ASKED"
[ "${1-}" != -c ] || exit "$LACKING"
"""


class Letters:
    """In the place of the embedding engine, which would take most of the time: a random direction for each text."""

    name, version, dimension = "letters", "1", 32

    def is_word(self, text: str) -> bool:
        return text.isalpha()

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed_passages(texts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        drawn = [np.random.default_rng(crc32(text.encode())).normal(size=self.dimension) for text in texts]
        found = np.array(drawn, dtype=np.float32).reshape(len(texts), self.dimension)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def save_deep_base(folder: Path) -> None:
    """A tiny random Gemma of more layers than the script has before the exit."""
    words = tokenizer()
    words.save_pretrained(folder)
    torch.manual_seed(7)
    config = Gemma3TextConfig(
        **SHAPE | {"num_hidden_layers": 11},
        vocab_size=len(words),
        num_key_value_heads=1,
        head_dim=16,
        layer_types=["sliding_attention"] * 10 + ["full_attention"],
        query_pre_attn_scalar=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    Gemma3ForCausalLM(config).eval().save_pretrained(folder)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the real script and the real recipes, for a base of twelve tiny layers."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts/model", tmp_path / "scripts/model")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "csrm"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    save_deep_base(tmp_path / "base")
    (tmp_path / "model/recipes").mkdir(parents=True)
    for file in (REPOSITORY / "model/recipes").glob(f"{SHIPPED}*.yaml"):
        recipe = yaml.safe_load(file.read_text()) | {"base": str(tmp_path / "base"), "batch_tokens": 8192}
        if "distillation" in recipe:
            recipe["distillation"] |= {"folds": 2, "rounds": 1}  # more of the same is tested elsewhere
        (tmp_path / "model/recipes" / file.name).write_text(yaml.safe_dump(recipe))
    (tmp_path / "model/data").mkdir()
    for file in (REPOSITORY / "model/data").glob("*.jsonl"):
        with file.open() as lines:
            (tmp_path / "model/data" / file.name).write_text("".join(itertools.islice(lines, 4)))
    notes = f"model/bundles/{SHIPPED}/knowledge/entries.jsonl"
    (tmp_path / notes).parent.mkdir(parents=True)
    with (REPOSITORY / notes).open() as lines:
        (tmp_path / notes).write_text("".join(itertools.islice(lines, 4)))
    # the bundle to start from has no notes of its own: to look them up takes longer than all the rest
    (tmp_path / "shipped" / SHIPPED).mkdir(parents=True)
    manifest = {"name": SHIPPED, "version": 1, "base": str(tmp_path / "base")}
    (tmp_path / "shipped" / SHIPPED / "bundle.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(bundle, "shipped_bundles", lambda: tmp_path / "shipped")
    monkeypatch.setattr(augmentation, "load_embedder", Letters)
    every: Callable[[], Iterator[dict[str, str]]] = shop.pairs
    monkeypatch.setattr(shop, "pairs", lambda: itertools.islice(every(), 24))
    return tmp_path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Every file that the script and the recipes look for."""
    folder = tmp_path / "rows"
    names = ["esci_en/train_4class.jsonl.gz", "esci_en/train_4class_more.jsonl.gz"]
    names += [f"parallel/{locale}.jsonl" for locale in ("es", "ko", "ja", "zh-TW")]
    names += [f"llm_judged/{locale}.jsonl.gz" for locale in ("en", "es", "ko", "ja", "zh-TW")]
    names += [f"esci_native_dev/{locale}.jsonl" for locale in ("es", "ja")]
    names += [f"esci_xl_dev/{locale}.jsonl" for locale in ("en", "es", "ko", "ja", "zh-TW")]
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        locale = file.name.split(".")[0] if "train" not in name else "en"
        found = [row | {"locale": locale} for row in rows_of(f"case {name}", grades="EI")]
        if file.parent.name == "parallel":
            found = [row | {"query_en": f"case {locale}", "title_en": row["title"]} for row in found]
        content = "".join(json.dumps(row) + "\n" for row in found).encode()
        file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    taxonomy = folder / "google_taxonomy/google_taxonomy_wide.csv.gz"
    taxonomy.parent.mkdir()
    taxonomy.write_bytes(gzip.compress(b"en-US,es-ES,ja-JP,ko-KR\nA > Cases,A > Fundas,A > K,A > L\n"))
    return folder


def asked(root: Path, *arguments: str) -> list[list[str]]:
    """The programs that the script calls, with what they are asked."""
    calls = root / "asked"
    calls.unlink(missing_ok=True)
    lacking = integers.lacking(torch.device("cpu"))
    subprocess.run(
        [root / "scripts/model", *arguments],
        env=os.environ | {"ASKED": str(calls), "LACKING": str(int(lacking is not None))},
        check=True,
        capture_output=True,
    )
    return [line.split("\0")[:-1] for line in calls.read_text().splitlines()]


def answer(program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what a program was asked."""
    if program == "csrm":
        done = CliRunner(env={"COLUMNS": "160"}).invoke(load(arguments[0]), arguments[1:])
        if done.exception:
            raise done.exception
    elif arguments[0] == "-c":
        with pytest.raises(SystemExit) as ended:
            exec(arguments[1], {})
        assert ended.value.code == integers.lacking(torch.device("cpu"))
    else:
        assert arguments[:2] == ["-m", shop.__name__]
        monkeypatch.setattr(sys, "argv", arguments[1:])
        shop.main()


def judge(adapter: Path, files: list[Path], folder: Path, base: Path) -> None:
    """Label rows as the exit and all layers see them, by and large: so few steps teach nothing to calibrate."""
    shutil.copytree(adapter, folder / "adapter")
    for name in (ENCODER_FILE, EXIT_FILE):
        (folder / "adapter" / name).rename(folder / name)
    manifest = {
        "name": "judge",
        "version": 1,
        "base": str(base),
        "exit": {"layer": 10},
        "encoder": {"weight": 0.35},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    model = RelevanceModel.load(folder)
    rows = [(file, row) for file in files for row in read_pairs(file)]
    seen = [grade_rows(model, [row for _, row in rows], level=level) for level in ("fast", "full")]
    place = sum(grades[:, 2:].sum(axis=1).argsort().argsort() for grades in seen)
    judged = [
        (file, row.model_copy(update={"label": "EI"[int(high)]}))
        for (file, row), high in zip(rows, place > np.median(place), strict=True)
    ]
    for file in files:
        file.write_text("".join(row.model_dump_json() + "\n" for one, row in judged if one == file))


def test_the_script_makes_a_bundle(
    root: Path, rows: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = asked(root, str(rows))
    steps = ["-m", "train", "train", "average", "fit-encoder", "fit-exit", "-c", "calibrate"]
    assert [arguments[0] for _, *arguments in calls] == steps
    monkeypatch.chdir(root)
    with torch.compiler.set_stance("force_eager"):
        for program, *arguments in calls:
            if arguments[0] == "calibrate":
                files = [Path(argument) for argument in arguments if argument.endswith(".jsonl")]
                assert len(files) == 7
                judge(root / "build/model/adapter", files, root / "judge", root / "base")
            answer(program, arguments, monkeypatch)
    made = load_bundle(root / "build/model" / SHIPPED)
    assert made.manifest.name == SHIPPED and made.manifest.version > 7
    assert made.manifest.base == str(root / "base")
    assert made.manifest.exit is not None and made.manifest.exit.layer == 10
    assert made.manifest.encoder is not None
    assert made.adapter_path is not None
    int8 = integers.lacking(torch.device("cpu")) is None
    assert (made.manifest.calibrated_in == "int8") == int8
    assert len((root / "build/model/distilled/distillation/log.jsonl").read_text().splitlines()) == 1


def test_the_script_wants_a_folder(root: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        asked(root)
    assert b"make model DATA=folder" in failed.value.stderr
