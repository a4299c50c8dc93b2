"""Knowledge for training rows, as serving will retrieve it: mostly right, sometimes wrong, often none.

Retrieval-based query augmentation (CSRM-LLM, arXiv 2509.01566). Dropout and deliberately wrong entries teach the
model to use knowledge where it helps and to do without. Knows rows and a retriever; knows no prompt and no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from csrm.knowledge import Embedder, KnowledgeEntry, KnowledgeSnapshot, Retriever, load_embedder, read_entries
from csrm.knowledge.builders.judged import from_judgments
from csrm.knowledge.builders.merging import entry_id
from csrm.training.data import TrainingRow, normalise, origins_of
from csrm.training.recipe import KnowledgeSettings

_SOURCE = "rows"
"""Of the entries made of the rows: part of their ids."""


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

    Raises:
        KnowledgeError: an entry is wrong, or a row cannot be one: its locale is no language tag.
    """
    known: dict[str, KnowledgeEntry] = {}  # an entry may stand in several files
    for path in settings.entries:
        for entry in read_entries(path):
            known.setdefault(entry.id, entry)
    entries = list(known.values())
    if settings.from_rows:
        entries += from_judgments(rows, source=_SOURCE)
    embedder = embedder or load_embedder()
    retriever = Retriever(KnowledgeSnapshot.build(entries, embedder), embedder)

    origins = origins_of(rows)
    own: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        own[origins(row.query)].add(entry_id(_SOURCE, row.query, row.locale))

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
