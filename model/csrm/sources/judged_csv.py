"""Judged pairs in a table of one's own: a row a pair, in columns of any name. Knows tables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from csrm.errors import InputError
from csrm.sources.rows import WORDS, Conversion, SourceRow, grade, row, table

_ADVICE = " Say what labels of your own mean with --grade LABEL=GRADE, for each of them."


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns. ``locale`` may be null where all rows are of one."""

    query: str = "query"
    title: str = "title"
    label: str = "label"
    locale: str | None = "locale"


def read_csv(
    path: Path,
    columns: Columns,
    *,
    labels: Mapping[str, str] | None = None,
    locale: str | None = None,
    delimiter: str = ",",
) -> Conversion:
    """The labelled pairs of a table, in its order.

    Args:
        path: the table, UTF-8, with a header line.
        columns: that hold the fields.
        labels: grade by label, where they are not E, S, C, I or the words for them.
        locale: of all rows, in place of a column.
        delimiter: between the fields, one character.

    Raises:
        InputError: a column is missing, a label unknown or a field blank; the message names line and field.
    """
    words = dict(WORDS) if labels is None else {said.strip().lower(): meant for said, meant in labels.items()}
    if wrong := [meant for meant in words.values() if meant not in ("E", "S", "C", "I")]:
        raise InputError(f"label: {wrong[0]!r} is no grade; give E, S, C or I.")
    if len(delimiter) != 1:
        raise InputError(f"delimiter: {delimiter!r} is not one character.")
    if locale is not None:
        columns = Columns(columns.query, columns.title, columns.label, None)
    return Conversion(_rows(path, columns, words, locale, delimiter))


def _rows(
    path: Path, columns: Columns, words: Mapping[str, str], locale: str | None, delimiter: str
) -> Iterator[SourceRow]:
    needed = [columns.query, columns.title, columns.label, *([columns.locale] if columns.locale else [])]
    for number, fields in table(path, needed, delimiter=delimiter):
        place = f"{path}, line {number}"
        yield row(
            place,
            query=fields[columns.query],
            title=fields[columns.title],
            label=grade(fields[columns.label], place, words, advice=_ADVICE),
            locale=fields[columns.locale].strip() if columns.locale else locale,
        )
