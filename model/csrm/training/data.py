"""Labelled rows for training, measuring and calibrating: read, checked, and kept apart.

Knows files and labels; knows no model. A row is one JSON object a line (optionally gzipped):
``{"query", "title", "label", "locale"}`` with label E, S, C or I; other fields are ignored.
"""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, overload

from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from csrm.errors import InputError
from csrm.knowledge.jsonl import Fault

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class LabelledPair(BaseModel):
    """One (query, product) with its grade. ``locale`` is the language of both."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    query: _Text
    title: _Text
    label: Literal["E", "S", "C", "I"]
    locale: _Text
    label_by: str = "human"
    id: str | int | None = None
    """The row's; rows of several locales with one id are translations of one another."""
    query_en: str | None = None
    """The source market's query that this one was rewritten from: the two are never on different sides of a split."""

    @field_validator("id", mode="before")
    @classmethod
    def _id_or_none(cls, value: object) -> object:
        return value if isinstance(value, str | int) else None

    @property
    def key(self) -> tuple[str, str]:
        """What makes two rows the same pair, whatever their case, width and spacing."""
        return normalise(self.query), normalise(self.title)


class TrainingRow(LabelledPair):
    """A labelled pair as training takes it.

    ``label`` may name several grades: the pair is one of them, nobody said which (``ESCI``: no label at all). Rows
    that only say ``is_substitute`` are read so: yes is S, no is one of E, C and I.
    """

    label: Annotated[str, StringConstraints(pattern=r"^[ESCI]{1,4}$")]  # type: ignore[assignment]

    @field_validator("label")
    @classmethod
    def _each_once(cls, label: str) -> str:
        if len(set(label)) < len(label):
            raise ValueError(f"{label} names a grade twice")
        return label

    @model_validator(mode="before")
    @classmethod
    def _yes_or_no(cls, row: Any) -> Any:
        if isinstance(row, dict) and "label" not in row and isinstance(row.get("is_substitute"), bool):
            return row | {"label": "S" if row["is_substitute"] else "ECI"}
        return row


Row = TypeVar("Row", bound=LabelledPair)


def normalise(text: str) -> str:
    """Text folded so that two writings of the same words compare equal (NFKC, case, white space)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@overload
def read_pairs(path: str | Path) -> list[LabelledPair]: ...
@overload
def read_pairs(path: str | Path, kind: type[Row]) -> list[Row]: ...
def read_pairs(path: str | Path, kind: type[LabelledPair] = LabelledPair) -> Sequence[LabelledPair]:
    """All rows of a file.

    Args:
        path: JSON lines, gzipped where it ends in ``.gz``.
        kind: what a row is read as.

    Raises:
        InputError: the file is missing, empty, or a row is wrong; the message names line and field.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The data file {path} does not exist.")
    rows = []
    for _, found in parse_lines(path, kind):
        if isinstance(found, list):
            raise InputError(f"{path}, {found[0]}.")
        rows.append(found)
    if not rows:
        raise InputError(f"The data file {path} is empty.")
    return rows


def parse_lines(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row | list[Fault]]]:
    """Line number, from 1, and the row or the faults of each line that is not blank.

    Raises:
        InputError: the file cannot be read on.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield number, kind.model_validate(json.loads(line))
                except json.JSONDecodeError as error:
                    yield number, [Fault(number, "", f"not JSON ({error.msg})")]
                except ValidationError as error:
                    yield (
                        number,
                        [
                            Fault(number, ".".join(map(str, fault["loc"])) or "row", fault["msg"])
                            for fault in error.errors()
                        ],
                    )
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path} is not a whole gzip file.") from error


def deduplicated(rows: Iterable[Row]) -> list[Row]:
    """The rows without repeated pairs; of contradicting ones the first stays (sources are listed best first)."""
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        seen.setdefault(row.key, row)
    return list(seen.values())


def origins_of(rows: Iterable[LabelledPair]) -> Callable[[str], str]:
    """What tells of a query, normalised, which query it was rewritten from: itself, where nobody said so."""
    known = {normalise(row.query): normalise(row.query_en) for row in rows if row.query_en}

    def origin(query: str) -> str:
        own = normalise(query)
        return known.get(own, own)

    return origin


def groups_of(rows: Sequence[LabelledPair], *, by_id: bool = False) -> list[str]:
    """A name for each row, the same for all that belong on one side of a split.

    These are the rows of a query in any writing, those of the query that it was rewritten from, and all that hang
    together so.

    Args:
        rows: in any order; the names do not depend on it.
        by_id: also bring translations together, the rows of several locales with one ``id``. Ids that repeat within a
            locale do not name rows, and are not looked at.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        above.setdefault(name, name)
        while above[name] != name:
            above[name] = name = above[above[name]]
        return name

    def join(one: str, other: str) -> None:
        first, second = sorted((top(one), top(other)))
        above[second] = first

    ids = [(row.locale, row.id) for row in rows if row.id is not None]
    by_id = by_id and len(set(ids)) == len(ids)
    queries = [normalise(row.query) for row in rows]
    for row, query in zip(rows, queries, strict=True):
        if row.query_en:
            join(query, normalise(row.query_en))
        if by_id and row.id is not None:
            join(query, f"\n{row.id!r}")  # no query has a line break
    return [top(query) for query in queries]


def refuse_one_kind(what: str, rows: Sequence[LabelledPair]) -> None:
    """Make sure that there is something to tell apart.

    Raises:
        InputError: all rows are relevant, or all are irrelevant; the message names ``what``.
    """
    for kind, labels in (("relevant (E, S)", "ES"), ("irrelevant (C, I)", "CI")):
        if rows and all(set(row.label) <= set(labels) for row in rows):
            raise InputError(f"{what}: all rows are {kind}: a model of relevance needs both kinds.")


def refuse_leaks(train: Iterable[LabelledPair], held_out: Iterable[LabelledPair]) -> None:
    """Make sure that no held-out pair is trained on.

    Raises:
        InputError: a pair stands in both, compared by normalised query and title.
    """
    keys = {row.key for row in held_out}
    leaks = [row for row in train if row.key in keys]
    if leaks:
        raise InputError(
            f"{len(leaks)} held-out pairs are in the training rows, e.g. {leaks[0].query!r} / {leaks[0].title!r}: "
            "remove them from one side."
        )
