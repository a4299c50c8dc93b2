"""A small store, made once with the real embedding engine: 46 entries in five languages, and queries for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrm.knowledge import Embedder, KnowledgeSnapshot, Retriever, read_entries

DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def snapshot(embedder: Embedder) -> KnowledgeSnapshot:
    return KnowledgeSnapshot.build(read_entries(DATA / "entries.jsonl"), embedder)


@pytest.fixture(scope="session")
def retriever(snapshot: KnowledgeSnapshot, embedder: Embedder) -> Retriever:
    return Retriever(snapshot, embedder)


@pytest.fixture(scope="session")
def cases() -> dict[str, list[dict[str, Any]]]:
    """``find``: queries with the ids that answer them; ``find_nothing``: queries of which the store knows nothing."""
    loaded: dict[str, list[dict[str, Any]]] = json.loads((DATA / "cases.json").read_text(encoding="utf-8"))
    return loaded
