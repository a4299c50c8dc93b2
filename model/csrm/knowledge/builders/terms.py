"""Term entries from a CSV with a header line: ``term,meaning`` and, if wanted, ``aliases,locale,weight,only_typed``.

Aliases are parted by ``|``. Knows CSV and term entries.
"""

from __future__ import annotations

import csv
from pathlib import Path

from csrm.errors import KnowledgeError
from csrm.knowledge.builders.merging import entry_id
from csrm.knowledge.entries import TermEntry, parse_entry

_COLUMNS = frozenset({"term", "meaning", "aliases", "locale", "weight", "only_typed"})


def read_terms(path: str | Path, *, source: str = "terms") -> list[TermEntry]:
    """One entry a row, in the order of the file.

    Raises:
        KnowledgeError: the file cannot be read, lacks a column, or a row is wrong; the message names the line
            and the field.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = set(rows.fieldnames or ())
            if wrong := ({"term", "meaning"} - columns) | (columns - _COLUMNS):
                raise KnowledgeError(
                    f"{path}: the header must be term,meaning and may have aliases,locale,weight,only_typed; "
                    f"look at {', '.join(sorted(map(str, wrong)))}."
                )
            return [_entry(row, source, f"{path}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise KnowledgeError(f"Cannot read the terms {path}: {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise KnowledgeError(f"{path} is not UTF-8 (byte {error.start + 1}): save it as UTF-8.") from error
    except csv.Error as error:
        raise KnowledgeError(f"{path} is not CSV: {error}; correct the file.") from error


def _entry(row: dict[str | None, str | None], source: str, place: str) -> TermEntry:
    if None in row or None in row.values():
        raise KnowledgeError(f"{place}: as many fields as columns are needed; put commas into quotes.")
    said = {column: value.strip() for column, value in row.items() if column and value and value.strip()}
    term, locale = said.get("term", ""), said.get("locale")
    fields: dict[str, object] = {"kind": "term", "source": source, "id": entry_id(source, term, locale or "")}
    fields |= {column: said[column] for column in ("locale", "weight", "only_typed") if column in said}
    fields |= {"term": term, "meaning": said.get("meaning", "")}
    fields["aliases"] = [alias.strip() for alias in said.get("aliases", "").split("|") if alias.strip()]
    try:
        entry = parse_entry(fields)
    except KnowledgeError as error:
        raise KnowledgeError(f"{place}: {error}") from error
    assert isinstance(entry, TermEntry)
    return entry
