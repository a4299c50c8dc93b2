"""A bundle's folder while it serves: another version is taken up beside the work, a broken one is not."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from csrm.errors import OutOfMemoryError
from csrm.model import RelevanceModel
from csrm.reference import reference_rows
from csrm.scoring import integers, load
from csrm.scoring.lean import LeanGemma3Engine
from csrm_serve import live_model
from csrm_serve.live_model import LiveModel
from csrm_serve.messages import ScoringJob
from csrm_serve.settings import ServeSettings
from tests.unit.csrm.conftest import save_base, save_distinct
from tests.unit.csrm.test_bad_text import broken
from tests.unit.csrm.test_reference import other_base, shuffled_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model."""
    folder = tmp_path_factory.mktemp("base")
    save_base("gemma3", folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    write(tmp_path / "bundle", base, 1)
    return tmp_path / "bundle"


@pytest.fixture
def live(folder: Path) -> LiveModel:
    return LiveModel(ServeSettings(bundle=str(folder), precision="fp32"), 1)


def write(folder: Path, weights: Path, version: int, **more: object) -> None:
    folder.mkdir(exist_ok=True)
    manifest = {"name": "tiny", "version": version, "base": str(weights), **more}
    (folder / "bundle.json").write_text(json.dumps(manifest))


def looks_twice(live: LiveModel) -> list[bool]:
    return [live.refresh(), live.refresh()]


def job(products: int = 1) -> ScoringJob:
    now = time.time()
    texts = [f"case {number}" for number in range(products)]
    return ScoringJob("case", texts, "en", (), None, deadline=now + 60, sent_at=now)


async def test_another_version_takes_over_once_it_lies_still(
    live: LiveModel, folder: Path, base: Path
) -> None:
    assert (await live.queue.run(job())).model == "tiny@1"
    assert looks_twice(live) == [False, False], "nothing has changed"
    write(folder, base, 2, threshold=0.25)
    assert not live.refresh(), "it may still be written"
    assert (await live.queue.run(job())).model == "tiny@1"
    assert live.refresh()
    scored = await live.queue.run(job())
    assert (scored.model, scored.threshold) == ("tiny@2", 0.25)
    assert live.queue.describe()["model"] == "tiny@2"
    assert looks_twice(live) == [False, False]


async def test_a_job_ends_with_the_model_that_it_began_with(
    live: LiveModel, folder: Path, base: Path
) -> None:
    long = asyncio.create_task(live.queue.run(job(3_000)))
    await asyncio.sleep(0.05)
    write(folder, base, 2)
    taken = await asyncio.to_thread(looks_twice, live)
    assert taken == [False, True]
    assert not long.done(), "it was under way when the other came"
    assert (await live.queue.run(job())).model == "tiny@2"
    scored = await long
    assert (scored.model, len(scored.results)) == ("tiny@1", 3_000)


@pytest.mark.skipif(integers.lacking(CPU) is not None, reason=str(integers.lacking(CPU)))
def test_each_bundle_is_taken_up_in_a_precision_that_it_was_calibrated_for(
    folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "fastest", lambda device, precisions: precisions[-1])
    write(folder, base, 1, calibrated_in="int8")
    live = LiveModel(ServeSettings(bundle=str(folder)), 1)
    found = [live.model.precision]
    usual = load.choices(CPU, int8=False)[-1]
    for version, calibrated_in in ((2, usual), (3, "int8")):
        write(folder, base, version, calibrated_in=calibrated_in)
        assert looks_twice(live) == [False, True]
        found.append(live.model.precision)
    monkeypatch.setattr(load, "fastest", lambda device, precisions: "fp32")  # as a busy machine might find
    write(folder, base, 4, calibrated_in="int8")
    assert looks_twice(live) == [False, True]
    found.append(live.model.precision)
    assert found == ["int8", usual, "int8", "int8"], "measured again only where other formats may be taken"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"threshold": 7}, "threshold"),
        ({"base": "/absent/base"}, "does not exist"),
        ({"prompt": {"answers": {}}}, "bundle.json"),
    ],
)
async def test_a_bundle_that_cannot_be_used_changes_nothing(
    live: LiveModel, folder: Path, base: Path, more: dict[str, object], reason: str
) -> None:
    write(folder, base, 2, **more)
    assert looks_twice(live) == [False, False]
    assert live.fault and reason in live.fault
    assert (await live.queue.run(job())).model == "tiny@1"
    write(folder, base, 3)
    assert looks_twice(live) == [False, True]
    assert live.fault is None


async def test_broken_weights_are_not_taken_up(
    live: LiveModel, folder: Path, base: Path, tmp_path: Path
) -> None:
    write(folder, broken(base, tmp_path), 2)
    assert looks_twice(live) == [False, False]
    assert live.fault and "not a number" in live.fault
    assert (await live.queue.run(job())).model == "tiny@1"


def graded(folder: Path) -> list[dict[str, object]]:
    """Reference rows as `csrm calibrate` writes them, of what lies in the folder."""
    rows = reference_rows(RelevanceModel.load(folder, precision="fp32", threads=1))
    return [row.model_dump() for row in rows]


def adapter_of_a_wider_base(folder: Path, base: Path) -> None:
    narrow = AutoModelForCausalLM.from_pretrained(base)
    wide = type(narrow)(type(narrow.config)(**{**narrow.config.to_dict(), "hidden_size": 48}))
    get_peft_model(wide, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(folder / "adapter"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shuffled_tokenizer, "grades its reference rows otherwise"),
        (other_base, "grades its reference rows otherwise"),
        (adapter_of_a_wider_base, "does not fit the base"),
    ],
)
async def test_a_bundle_whose_parts_do_not_belong_together_is_not_taken_up(
    live: LiveModel,
    folder: Path,
    base: Path,
    tmp_path: Path,
    change: Callable[[Path, Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All of the right shape but the last, so that grades would come out, and be another model's."""
    copy = tmp_path / "copy"
    save_distinct(base, copy)
    write(tmp_path / "next", copy, 2)
    reference = graded(tmp_path / "next")
    change(folder, copy)
    write(folder, copy, 2, reference=reference)
    assert looks_twice(live) == [False, False]
    assert live.fault and reason in live.fault
    assert f"tiny@1 goes on: the bundle in {folder} cannot be used" in caplog.text
    assert (await live.judge(job())).model == "tiny@1"


def too_much(*_: object, **__: object) -> torch.Tensor:
    """More memory than any machine has, asked of torch: what it raises then is real."""
    return torch.empty(2**60, dtype=torch.uint8)


async def test_memory_that_runs_out_while_a_bundle_is_loaded_leaves_the_old_one(
    live: LiveModel, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LeanGemma3Engine, "_run_prefix", too_much)
        write(folder, base, 2)
        assert looks_twice(live) == [False, False]
    assert live.fault and "memory" in live.fault
    assert (await live.judge(job())).model == "tiny@1"


async def test_memory_that_runs_out_in_a_batch_costs_that_request_alone(
    live: LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(live.model._engine, "_run_products", too_much)
        with pytest.raises(OutOfMemoryError, match="fewer products"):
            await live.judge(job())
    assert len((await live.judge(job(3))).results) == 3


async def test_a_folder_that_is_away_changes_nothing(live: LiveModel, folder: Path, base: Path) -> None:
    shutil.move(folder, folder.with_name("away"))
    assert looks_twice(live) == [False, False]
    assert (await live.queue.run(job())).model == "tiny@1"
    write(folder, base, 2)
    assert looks_twice(live) == [False, True]


async def test_a_bundle_without_the_memory_to_load_it_is_left(
    live: LiveModel, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "available_bytes", lambda: 10 * 2**20)
    write(folder, base, 2)
    assert looks_twice(live) == [False, False]
    assert live.fault and "GB of memory" in live.fault
    assert (await live.queue.run(job())).model == "tiny@1"


def test_another_base_under_the_same_bundle_shares_no_grades(
    live: LiveModel, folder: Path, base: Path, tmp_path: Path
) -> None:
    """Only the contents of the base differ: name, version, adapter and precision do not."""
    same = LiveModel(ServeSettings(bundle=str(folder), precision="fp32"), 1)
    assert same._identity(same.model) == live._identity(live.model)
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    copied = LiveModel(ServeSettings(bundle=str(folder), base=str(copy), precision="fp32"), 1)
    assert copied._identity(copied.model) == live._identity(live.model), "it is what they hold that counts"
    weights = AutoModelForCausalLM.from_pretrained(copy)
    with torch.no_grad():
        weights.model.layers[0].mlp.down_proj.weight[0, 0] += 1
    other = tmp_path / "other"
    shutil.copytree(base, other)
    weights.save_pretrained(other)
    changed = LiveModel(ServeSettings(bundle=str(folder), base=str(other), precision="fp32"), 1)
    assert changed.model.name == live.model.name
    assert changed._identity(changed.model) != live._identity(live.model)


async def test_memory_is_given_back_once_after_work(live: LiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr(live_model, "give_back", lambda: given.append(live.queue.idle()))
    live.rest()
    live.rest()
    assert given == [True], "the first query was work too"
    long = asyncio.create_task(live.queue.run(job(3_000)))
    await asyncio.sleep(0.05)
    live.rest()
    assert len(given) == 1, "it is busy"
    await long
    for _ in range(1_000):
        if live.queue.idle():
            break
        await asyncio.sleep(0.01)
    live.rest()
    assert given == [True, True]


def test_a_start_says_what_it_took(live: LiveModel) -> None:
    assert list(live.start_s) == ["imports", "model", "first query"]
    assert live.start_s["model"] > 0 and live.start_s["first query"] > 0
