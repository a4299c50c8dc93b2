"""What a build changes in a set of entries: it adds and mends, and takes nothing away.

Knows entries by their ids alone; knows no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from csrm.knowledge.entries import CategoryEntry, QueryEntry, TermEntry
from csrm.knowledge.folding import fold

Entry = QueryEntry | TermEntry | CategoryEntry


@dataclass(frozen=True, slots=True)
class Changes:
    """The outcome of a build, not yet written anywhere."""

    added: list[Entry]
    changed: list[Entry]
    entries: list[Entry]
    """All there are afterwards: those before in their order, then the new ones."""


def merge(before: Iterable[Entry], built: Iterable[Entry]) -> Changes:
    """Add what is new and replace what differs; an entry that differs by its date alone stays as it is."""
    entries = {entry.id: entry for entry in before}
    added: list[Entry] = []
    changed: list[Entry] = []
    for entry in built:
        known = entries.get(entry.id)
        if known is None:
            added.append(entry)
        elif known.model_copy(update={"date": entry.date}) != entry:
            changed.append(entry)
        else:
            continue
        entries[entry.id] = entry
    return Changes(added, changed, list(entries.values()))


def entry_id(source: str, *parts: str) -> str:
    """The same for the same words in any case, width and spacing: ``ubi-9f86d081884c``."""
    text = "\x1f".join(fold(part) for part in parts)
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
