"""Labelled rows for training, measuring and calibrating: read, checked, and kept apart.

Knows files and labels; knows no model. A row is one JSON object a line (optionally gzipped):
``{"query", "title", "label", "locale"}`` with label E, S, C or I; other fields are ignored.
"""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from csrm.errors import InputError

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class LabelledPair(BaseModel):
    """One (query, product) with its grade. ``locale`` is the language of both."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    query: _Text
    title: _Text
    label: Literal["E", "S", "C", "I"]
    locale: str
    label_by: str = "human"

    @property
    def key(self) -> tuple[str, str]:
        """What makes two rows the same pair, whatever their case, width and spacing."""
        return normalise(self.query), normalise(self.title)


def normalise(text: str) -> str:
    """Text folded so that two writings of the same words compare equal (NFKC, case, white space)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_pairs(path: str | Path) -> list[LabelledPair]:
    """All rows of a file.

    Raises:
        InputError: the file is missing, empty, or a row is wrong; the message names line and field.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The data file {path} does not exist.")
    rows = list(_parse(path))
    if not rows:
        raise InputError(f"The data file {path} is empty.")
    return rows


def _parse(path: Path) -> Iterator[LabelledPair]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield LabelledPair.model_validate(json.loads(line))
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}, line {number}: not JSON ({error.msg}).") from error
                except ValidationError as error:
                    fault = error.errors()[0]
                    field = ".".join(str(part) for part in fault["loc"]) or "row"
                    raise InputError(f"{path}, line {number}, field {field}: {fault['msg']}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path} is not a whole gzip file.") from error


def deduplicated(rows: Iterable[LabelledPair]) -> list[LabelledPair]:
    """The rows without repeated pairs; of contradicting ones the first stays (sources are listed best first)."""
    seen: dict[tuple[str, str], LabelledPair] = {}
    for row in rows:
        seen.setdefault(row.key, row)
    return list(seen.values())


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
