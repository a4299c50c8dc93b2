"""Query entries from labelled pairs: for each query the products that people called exact.

Knows grades and query entries; who reads the pairs is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from csrm.knowledge.builders.merging import entry_id
from csrm.knowledge.entries import QueryEntry, parse_entry
from csrm.knowledge.folding import fold

MAX_TITLES = 5
"""Of an entry; a prompt line has room for two."""


class JudgedPair(Protocol):
    """One (query, product) with its grade E, S, C or I; ``locale`` is the language of both."""

    @property
    def query(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def locale(self) -> str: ...


def from_judgments(pairs: Iterable[JudgedPair], *, source: str = "judgments") -> list[QueryEntry]:
    """One entry for each query (in any case and spacing) and locale that has a product graded E.

    The first titles count, so list the best first. Queries and titles beyond an entry's bounds are cut.

    Raises:
        KnowledgeError: a locale is no language tag, or a query or title is no text.
    """
    found: dict[tuple[str, str], QueryEntry] = {}
    for pair in pairs:
        if pair.label != "E":
            continue
        key, title = (pair.locale, fold(pair.query)), pair.title[:1_000]
        entry = found.get(key)
        if entry is None:
            made = {"kind": "query", "id": entry_id(source, pair.query, pair.locale), "locale": pair.locale}
            new = parse_entry(made | {"source": source, "query": pair.query[:200], "titles": [title]})
            assert isinstance(new, QueryEntry)
            found[key] = new
        elif len(entry.titles) < MAX_TITLES and title not in entry.titles:
            found[key] = entry.model_copy(update={"titles": [*entry.titles, title]})
    return list(found.values())
