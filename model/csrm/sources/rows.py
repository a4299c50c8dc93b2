"""Labelled rows on their way from what a user has to a file of ours: graded, checked, counted, written whole.

Knows rows and labels; knows no source.
"""

from __future__ import annotations

import csv
import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from csrm.errors import InputError
from csrm.training.data import LabelledPair

WORDS = {"e": "E", "s": "S", "c": "C", "i": "I"} | {
    "exact": "E",
    "substitute": "S",
    "complement": "C",
    "irrelevant": "I",
}
"""Labels as the releases of ESCI write them, in any case."""


class SourceRow(LabelledPair):
    """A labelled pair with what else a source says of the product."""

    brand: str | None = None
    color: str | None = None


@dataclass
class Conversion:
    """The rows of a source, and how many were left out for what reason; counted while the rows are read."""

    rows: Iterator[SourceRow]
    left_out: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    """Written so far, by ``locale label``."""


def grade(said: str, place: str, words: Mapping[str, str] = WORDS, *, advice: str = "") -> str:
    """The grade that a label of a source stands for.

    Args:
        said: the label, in any case.
        place: where it stands, for the message.
        words: grades by label in lower case.
        advice: how to say what an unknown label means, where the source lets one.

    Raises:
        InputError: there is no such label.
    """
    try:
        return words[said.strip().lower()]
    except KeyError:
        known = ", ".join(sorted(words))
        raise InputError(f"{place}, field label: {said!r} is unknown; known are {known}.{advice}") from None


def row(place: str, **fields: object) -> SourceRow:
    """A row of a source.

    Raises:
        InputError: a field is wrong; the message names it.
    """
    try:
        return SourceRow.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{place}, field {'.'.join(map(str, fault['loc']))}: {fault['msg']}.") from error


def table(path: Path, needed: Sequence[str], *, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row of a table with a header line.

    Raises:
        InputError: the file cannot be read, is empty, lacks a column, or a row is cut off.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # descriptions of products are long
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, delimiter=delimiter)
            there = list(lines.fieldnames or ())
            if not there:
                raise InputError(f"{path} is empty.")
            if missing := [column for column in needed if column not in there]:
                raise InputError(
                    f"{path}, line 1: there is no column {', '.join(missing)}; there are {', '.join(there)}."
                )
            for fields in lines:
                if short := [column for column in needed if fields[column] is None]:
                    raise InputError(f"{path}, line {lines.line_num}, field {short[0]}: the line is cut off.")
                yield lines.line_num, {column: fields[column] or "" for column in there}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start + 1}): save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path} is no such table: {error}.") from error


def objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Line number and object of each line of a JSON lines file; of an export of OpenSearch, what is in ``_source``.

    Raises:
        InputError: the file cannot be read, is empty, or a line is no JSON object.
    """
    found = False
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    said = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error.msg}).") from error
                if isinstance(said, dict) and isinstance(said.get("_source"), dict):
                    said = {"_id": said.get("_id")} | said["_source"]
                if not isinstance(said, dict):
                    raise InputError(f"{path}, line {number}: must be a JSON object.")
                found = True
                yield number, said
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start + 1}).") from error
    if not found:
        raise InputError(f"{path} is empty.")


def write(conversion: Conversion, path: Path) -> None:
    """Write the rows as JSON lines, wholly or not at all, and count them.

    Raises:
        InputError: the file is there already or cannot be written, or the source gave no rows.
    """
    if path.exists():
        raise InputError(f"{path} exists already: choose another name, or take it away.")
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            for one in conversion.rows:
                conversion.labels[f"{one.locale} {one.label}"] += 1
                said = one.model_dump(exclude_defaults=True)
                file.write(json.dumps(said, ensure_ascii=False) + "\n")
        if not conversion.labels:
            raise InputError(f"No rows were found{_because(conversion.left_out)}; nothing is written.")
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        fresh.unlink(missing_ok=True)


def _because(left_out: Mapping[str, int]) -> str:
    return "".join(f", {count} left out: {reason}" for reason, count in left_out.items())


def known(rows: Iterable[tuple[str, str]], what: str) -> dict[str, str]:
    """Texts by id.

    Raises:
        InputError: an id stands there twice with different texts.
    """
    found: dict[str, str] = {}
    for key, text in rows:
        if found.setdefault(key, text) != text:
            raise InputError(f"{what}: the id {key} stands there twice with different texts.")
    return found
