"""Category entries from tables in the layout of the Google product taxonomy: ``ID - Level > Level > Level``.

One file a language; the ids join them. Lines that begin with # are comments. Knows these files and category
entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from csrm.errors import KnowledgeError
from csrm.knowledge.entries import CategoryEntry, parse_entry

_LINE = re.compile(r"(\d+)\s+-\s+(\S.*)")


def read_taxonomy(files: Mapping[str, str | Path], *, source: str = "taxonomy") -> list[CategoryEntry]:
    """One entry a category, in the order of the first file; a category has the languages that know it.

    Args:
        files: by locale.
        source: of the entries; their ids begin with it.

    Raises:
        KnowledgeError: a file cannot be read, a line is none of the layout, an id is there twice, or a locale
            is no language tag.
    """
    paths: dict[str, dict[str, str]] = {}
    for locale, file in files.items():
        for number, path in _read(Path(file)).items():
            paths.setdefault(number, {})[locale] = path
    entries = []
    for number, said in paths.items():
        entry = parse_entry({"kind": "category", "id": f"{source}-{number}", "source": source, "paths": said})
        assert isinstance(entry, CategoryEntry)
        entries.append(entry)
    return entries


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise KnowledgeError(f"Cannot read the taxonomy {file}: {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise KnowledgeError(f"{file} is not UTF-8 (byte {error.start + 1}): save it as UTF-8.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise KnowledgeError(f"{file}, line {number}: must read 'ID - Level > Level'; correct the file.")
        if match[1] in found:
            raise KnowledgeError(
                f"{file}, line {number}: the id {match[1]} is there twice; correct the file."
            )
        found[match[1]] = match[2]
    return found
