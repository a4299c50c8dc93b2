"""The graph of a large snapshot's vectors: what it finds, and what becomes of a bad file."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge import Embedder, KnowledgeSnapshot, Retriever, TermEntry
from csrm.knowledge.nearest import CARD, GRAPH, Nearest, Stored

SHA = "0" * 64


@pytest.fixture(scope="module")
def vectors() -> Stored:
    drawn = np.random.default_rng(0).normal(size=(3_000, 48))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)


def test_it_finds_what_an_exact_search_finds(vectors: Stored, tmp_path: Path) -> None:
    Nearest.write(tmp_path, vectors, SHA)
    nearest = Nearest.open(tmp_path, SHA)
    assert nearest.recall >= 0.95
    exact = vectors.astype(np.float32)
    queries = np.random.default_rng(1).normal(size=(50, 48)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    both = [(nearest.find(query, 10), np.argsort(-(exact @ query))[:10]) for query in queries]
    # Threads build the graph, no two the same; vectors that are drawn alike in all directions are its hardest case.
    assert np.mean([found[0] == wanted[0] for found, wanted in both]) >= 0.94
    assert np.mean([len(set(found) & set(wanted)) / 10 for found, wanted in both]) >= 0.95


def test_a_graph_that_finds_too_little_is_not_used(
    vectors: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csrm.knowledge.nearest._EXPANSIONS", (1, 2))
    with pytest.raises(KnowledgeError, match=r"The graph of the 3000 vectors finds 0\.\d+ of the nearest"):
        Nearest.write(tmp_path, vectors, SHA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (GRAPH, None, "is not there"),
        (CARD, None, "is not there"),
        (GRAPH, b"", "is not the file that was written"),
        (GRAPH, b"usearch and more", "is not the file that was written"),
        (CARD, b"{}", "is not what was written"),
    ],
)
def test_a_bad_file_is_not_opened(
    vectors: Stored, tmp_path: Path, file: str, content: bytes | None, reason: str
) -> None:
    Nearest.write(tmp_path, vectors[:50], SHA)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(KnowledgeError, match=reason):
        Nearest.open(tmp_path, SHA)


def test_a_graph_of_other_vectors_is_not_opened(vectors: Stored, tmp_path: Path) -> None:
    Nearest.write(tmp_path, vectors[:50], SHA)
    with pytest.raises(KnowledgeError, match="was made of other vectors"):
        Nearest.open(tmp_path, "1" * 64)


@pytest.fixture
def large(snapshot: KnowledgeSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small store, saved as if it were a large one."""
    monkeypatch.setattr("csrm.knowledge.snapshot.EXACT_ENTRIES", 20)
    snapshot.save(tmp_path / "large")
    return tmp_path / "large"


def test_a_large_snapshot_finds_what_a_small_one_finds(
    large: Path, retriever: Retriever, embedder: Embedder, cases: dict[str, list[dict[str, Any]]]
) -> None:
    loaded = KnowledgeSnapshot.load(large)
    assert loaded.nearest is not None
    assert isinstance(loaded.vectors, np.memmap)
    assert np.array_equal(loaded.vectors, retriever.snapshot.vectors.astype(np.float16))
    asked = [*cases["find"][::3], *cases["find_nothing"][::9]]
    queries, locales = [case["query"] for case in asked], [case["locale"] for case in asked]
    of_large = Retriever(loaded, embedder).retrieve_many(queries, locales)
    of_small = retriever.retrieve_many(queries, locales)
    same = [
        [one.line for one in large] == [one.line for one in small]
        for large, small in zip(of_large, of_small, strict=True)
    ]
    assert np.mean(same) >= 0.97  # threads build the graph, no two the same: now and then a vector is missed
    assert sum(map(bool, of_large)) > 30


@pytest.mark.parametrize("fault", ["missing", "truncated", "of other vectors", "no card"])
def test_a_bad_graph_is_made_anew_and_kept(
    large: Path, vectors: Stored, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    match fault:
        case "missing":
            (large / GRAPH).unlink()
        case "truncated":
            (large / GRAPH).write_bytes((large / GRAPH).read_bytes()[:-1])
        case "of other vectors":
            Nearest.write(large, vectors[:90], SHA)
        case "no card":
            (large / CARD).unlink()
    with caplog.at_level(logging.WARNING, "csrm.knowledge.snapshot"):
        loaded = KnowledgeSnapshot.load(large)
    assert ["made anew" in record.message for record in caplog.records] == [True]
    assert loaded.nearest is not None
    assert loaded.nearest.find(loaded.vectors[7].astype(np.float32), 1).tolist() == [7]
    caplog.clear()
    assert KnowledgeSnapshot.load(large).nearest is not None
    assert caplog.records == []
    assert sorted(path.name for path in large.iterdir()) == [
        "entries.jsonl", "meta.json", CARD, GRAPH, "vectors.safetensors",
    ]  # fmt: skip


def test_without_a_place_for_a_new_graph_it_says_so(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (large / GRAPH).unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csrm.knowledge.nearest.Index.save", full)
    with pytest.raises(KnowledgeError, match=r"no usable graph .*No space left.*csrm knowledge snapshot"):
        KnowledgeSnapshot.load(large)


def test_a_large_snapshot_is_built_upon(large: Path, embedder: Embedder) -> None:
    before = KnowledgeSnapshot.load(large)
    more = TermEntry(id="more", source="t", term="모바브", meaning="power bank")
    grown = KnowledgeSnapshot.build([*before.entries, more], embedder, before=before)
    grown.save(large)
    loaded = KnowledgeSnapshot.load(large)
    assert loaded.nearest is not None
    assert [one.entry.id for one in Retriever(loaded, embedder).retrieve("모바브", "ko")] == ["more"]
    shutil.rmtree(large)  # what is mapped stays readable
    assert Retriever(loaded, embedder).retrieve("모바브", "ko")
