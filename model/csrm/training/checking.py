"""What is wrong with files of labelled rows: every fault with its line, and what only shows over many rows.

Knows files and labels; changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csrm.errors import InputError
from csrm.knowledge.jsonl import Fault
from csrm.training.data import LabelledPair, TrainingRow, groups_of, normalise, parse_lines

LONG_TEXT = 2_000
"""Characters of a query or title beyond which something went wrong: a model reads the first few hundred."""


@dataclass(frozen=True, slots=True)
class Place:
    """A row where it stands."""

    path: Path
    line: int
    row: LabelledPair

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass(slots=True)
class FileCheck:
    """One file."""

    path: Path
    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    """Good rows by ``locale label``."""
    faults: list[Fault] = field(default_factory=list)
    unreadable: str | None = None
    """Why the file could not be read to its end."""
    long: list[Place] = field(default_factory=list)
    """Rows with a text of more than ``LONG_TEXT`` characters."""

    @property
    def empty(self) -> bool:
        return not self.rows and not self.faults and self.unreadable is None

    @property
    def one_kind(self) -> bool:
        """Whether the good rows are all relevant (E, S) or all irrelevant (C, I), so that nothing can be measured."""
        kinds = {
            "relevant" if grade in "ES" else "irrelevant"
            for said in self.labels
            for grade in said.rpartition(" ")[2]
        }
        return len(kinds) == 1


@dataclass(slots=True)
class DataCheck:
    """Several files, and what shows between their rows. Each pair is a row and the earlier one that it meets."""

    files: list[FileCheck]
    duplicates: list[tuple[Place, Place]]
    """The same query and title with a label that agrees."""
    contradictions: list[tuple[Place, Place]]
    """The same query and title with a label that does not."""
    leaks: list[tuple[Place, Place]]
    """Held-out rows whose query and title are trained on."""
    shared: list[tuple[Place, Place]]
    """The first row of each held-out query that is trained on, itself or rewritten, with whatever title."""

    @property
    def usable(self) -> bool:
        """Whether the files can be used as they are.

        Duplicates and contradictions are noise that training takes; of shared queries the held-out rows only say too
        much good.
        """
        return not self.leaks and not any(
            file.faults or file.unreadable or file.empty or file.one_kind for file in self.files
        )


def check_data(
    files: Sequence[Path] = (), *, train: Sequence[Path] = (), dev: Sequence[Path] = ()
) -> DataCheck:
    """Read files to their ends, and list all that is wrong.

    Args:
        files: labelled rows for any use.
        train: rows for training, where a label may name several grades.
        dev: held-out rows, that must not be trained on.
    """
    checks: list[FileCheck] = []
    duplicates: list[tuple[Place, Place]] = []
    contradictions: list[tuple[Place, Place]] = []
    sides = []
    for paths, kind in ((files, LabelledPair), (train, TrainingRow), (dev, LabelledPair)):
        first: dict[tuple[str, str], Place] = {}
        for path in paths:
            check, places = _read(path, kind)
            checks.append(check)
            for place in places:
                earlier = first.setdefault(place.row.key, place)
                if earlier is not place:
                    agrees = set(earlier.row.label) & set(place.row.label)
                    (duplicates if agrees else contradictions).append((place, earlier))
        sides.append(first)
    _, trained, held_out = sides
    leaks = [(place, trained[key]) for key, place in held_out.items() if key in trained]
    shared = _shared(list(trained.values()), list(held_out.values()))
    return DataCheck(checks, duplicates, contradictions, leaks, shared)


def _shared(trained: Sequence[Place], held_out: Sequence[Place]) -> list[tuple[Place, Place]]:
    names = groups_of([place.row for place in (*trained, *held_out)])
    first: dict[str, Place] = {}
    for place, name in zip(trained, names, strict=False):
        first.setdefault(name, place)
    queries: dict[str, tuple[Place, Place]] = {}
    for place, name in zip(held_out, names[len(trained) :], strict=True):
        if name in first:
            queries.setdefault(normalise(place.row.query), (place, first[name]))
    return list(queries.values())


def _read(path: Path, kind: type[LabelledPair]) -> tuple[FileCheck, list[Place]]:
    check, places = FileCheck(path), []
    try:
        for number, found in parse_lines(path, kind):
            if isinstance(found, list):
                check.faults += found
                continue
            place = Place(path, number, found)
            places.append(place)
            check.rows += 1
            check.labels[f"{found.locale} {found.label}"] += 1
            if max(len(found.query), len(found.title)) > LONG_TEXT:
                check.long.append(place)
    except InputError as error:
        check.unreadable = str(error)
    except OSError as error:
        check.unreadable = f"{path} cannot be read: {error.strerror}."
    return check, places
