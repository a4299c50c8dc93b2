"""Knowledge entries as a file: JSONL, UTF-8, one entry a line, blank lines ignored.

    {"kind": "term", "id": "t1", "source": "demo", "locale": "ko", "term": "에어팟",
     "meaning": "AirPods, Apple wireless earbuds", "aliases": ["airpods", "에어파드"]}
    {"kind": "query", "id": "q1", "source": "ubi", "locale": "en", "query": "phone case",
     "titles": ["Slim case for iPhone 15"], "category": "Phones > Cases",
     "weight": 2, "date": "2025-03-01"}
    {"kind": "category", "id": "c1", "source": "taxonomy",
     "paths": {"en": "Phones > Cases", "ko": "휴대폰 > 케이스"}}

Lines are broken here to fit; in a file each entry is one line. ``check_entries`` reads a file to its end and
lists every fault; ``read_entries`` is for files meant to be right. Knows no vectors and no retrieval.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from csrm.errors import KnowledgeError
from csrm.knowledge.entries import CategoryEntry, QueryEntry, TermEntry, entry_faults, validate_entry


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file of entries."""

    line: int
    """From 1."""
    field: str
    """Dotted path of the field, empty where the whole line is wrong."""
    reason: str

    def __str__(self) -> str:
        place = f"line {self.line}" + (f", field {self.field}" if self.field else "")
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EntryReport:
    """The good entries of a file in its order, and the faults of the others."""

    entries: list[QueryEntry | TermEntry | CategoryEntry]
    faults: list[Fault]


def check_entries(path: str | Path) -> EntryReport:
    """Read a JSONL file to its end, keeping the good entries and listing every fault.

    Raises:
        KnowledgeError: the file cannot be read at all.
    """
    try:
        with Path(path).open("rb") as file:
            return check_lines(file)
    except OSError as error:
        raise KnowledgeError(
            f"Cannot read the knowledge entries {path}: {error.strerror}; check the path."
        ) from error


def check_lines(lines: Iterable[bytes]) -> EntryReport:
    """As `check_entries`, for lines from anywhere."""
    entries: list[QueryEntry | TermEntry | CategoryEntry] = []
    faults: list[Fault] = []
    first_line: dict[str, int] = {}
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            continue
        try:
            entry = validate_entry(orjson.loads(raw.decode("utf-8")))
        except UnicodeDecodeError as error:
            faults.append(Fault(number, "", f"not UTF-8 (byte {error.start + 1} of the line)"))
        except orjson.JSONDecodeError as error:
            faults.append(Fault(number, "", f"not JSON: {error.msg} (column {error.colno})"))
        except ValidationError as error:
            faults.extend(Fault(number, field, reason) for field, reason in entry_faults(error))
        else:
            if entry.id in first_line:
                faults.append(Fault(number, "id", f"{entry.id!r} is already on line {first_line[entry.id]}"))
            else:
                first_line[entry.id] = number
                entries.append(entry)
    return EntryReport(entries, faults)


def read_entries(path: str | Path) -> list[QueryEntry | TermEntry | CategoryEntry]:
    """The entries of a JSONL file.

    Raises:
        KnowledgeError: the file cannot be read or has a fault; the message names line and field of the first.
    """
    report = check_entries(path)
    if report.faults:
        more = len(report.faults) - 1
        others = f" ({more} more)" if more else ""
        raise KnowledgeError(f"{path}, {report.faults[0]}{others}; correct the file.")
    return report.entries


def write_entries(path: str | Path, entries: Iterable[QueryEntry | TermEntry | CategoryEntry]) -> None:
    """Write a JSONL file, wholly or not at all; one of the same name is replaced.

    Raises:
        KnowledgeError: it cannot be written.
    """
    lines = dump_entries(entries)
    target = Path(path)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        fresh.write_bytes(lines)
        fresh.replace(target)
    except OSError as error:
        raise KnowledgeError(
            f"Cannot write the knowledge entries {path}: {error.strerror}; check the folder."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def dump_entries(entries: Iterable[QueryEntry | TermEntry | CategoryEntry]) -> bytes:
    """The entries as JSONL, defaults left out; equal entries give equal bytes."""
    return b"".join(
        orjson.dumps(
            {"kind": entry.kind, **entry.model_dump(mode="json", exclude_defaults=True)},
            option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE,
        )
        for entry in entries
    )
