"""Knowledge for training rows, as serving will retrieve it: mostly right, sometimes wrong, often none.

Retrieval-based query augmentation (CSRM-LLM, arXiv 2509.01566). Dropout and deliberately wrong entries teach the
model to use knowledge where it helps and to do without. Knows rows and a retriever; knows no prompt and no model.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence

from csrm.knowledge import Embedder, KnowledgeEntry, KnowledgeSnapshot, Retriever, load_embedder, read_entries
from csrm.knowledge.entries import QueryEntry
from csrm.training.data import LabelledPair, TrainingRow, normalise, origins_of
from csrm.training.recipe import KnowledgeSettings

MAX_TITLES = 3


def search_log(rows: Sequence[LabelledPair]) -> list[QueryEntry]:
    """What a search log would hold: each query with the products that were exactly what was wanted."""
    chosen: dict[tuple[str, str], list[str]] = defaultdict(list)
    texts: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.label == "E":
            key = (row.locale, normalise(row.query))
            texts.setdefault(key, row.query)
            chosen[key].append(row.title)
    return [
        QueryEntry(
            id=_log_id(*key), locale=key[0], source="judgments", query=texts[key], titles=titles[:MAX_TITLES]
        )
        for key, titles in chosen.items()
    ]


def knowledge_lines(
    rows: Sequence[TrainingRow], settings: KnowledgeSettings, seed: int, embedder: Embedder | None = None
) -> list[list[str]]:
    """Lines of knowledge for each row, best first.

    A row never sees the entry made from its own query, nor from that query in another language: in the served shop
    that entry may not exist.

    Args:
        rows: in any number of languages.
        settings: entries, and how often they are missing or wrong.
        seed: of what is missing and wrong.
        embedder: the default one where null.
    """
    known: dict[str, KnowledgeEntry] = {}  # an entry may stand in several files
    for path in settings.entries:
        for entry in read_entries(path):
            known.setdefault(entry.id, entry)
    entries = list(known.values())
    if settings.from_rows:
        entries += search_log(rows)
    embedder = embedder or load_embedder()
    retriever = Retriever(KnowledgeSnapshot.build(entries, embedder), embedder)

    origins = origins_of(rows)
    own: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        own[origins(row.query)].add(_log_id(row.locale, normalise(row.query)))

    found: dict[tuple[str, str], list[str]] = {}
    by_locale: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        by_locale[row.locale].setdefault(normalise(row.query), row.query)
    for locale, queries in by_locale.items():
        hits = retriever.retrieve_many(
            list(queries.values()),
            locale,
            limit=settings.limit,
            exclude=[own[origins(query)] for query in queries.values()],
        )
        for key, retrieved in zip(queries, hits, strict=True):
            found[locale, key] = [hit.line for hit in retrieved]

    others = [lines for lines in found.values() if lines]
    chance = random.Random(f"{seed}/knowledge")
    result: list[list[str]] = []
    for row in rows:
        draw = chance.random()
        if draw < settings.dropout:
            result.append([])
        elif draw < settings.dropout + settings.wrong and others:
            result.append(chance.choice(others))
        else:
            result.append(found[row.locale, normalise(row.query)])
    return result


def _log_id(locale: str, query: str) -> str:
    return "log-" + hashlib.sha256(f"{locale}\n{query}".encode()).hexdigest()[:16]
