"""Labelled rows cut by query into what is trained on and what is held out.

Nothing of a held-out query, in any writing or language, is trained on. Knows rows and files of them; knows no model.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ConfigDict

from csrm.errors import InputError
from csrm.training.data import TrainingRow, groups_of, read_pairs

TRAIN = "train"
SEED = 20260917


class WholeRow(TrainingRow):
    """A row with all fields that its line has, known or not."""

    model_config = ConfigDict(extra="allow", frozen=True)


Parts = dict[str, list[WholeRow]]
"""Rows by the name of their part, ``train`` last."""


def split_files(
    files: Sequence[Path], out: Path, held_out: Mapping[str, float], *, seed: int = SEED
) -> Parts:
    """Write ``NAME.jsonl`` of each held-out part, and ``train.jsonl`` of the rest, into a folder.

    Args:
        files: labelled rows as training takes them.
        out: the folder; made where it is missing.
        held_out: names of the parts, and how much each gets: rows, or below 1 a share of all rows.
        seed: of the draw.

    Raises:
        InputError: a row is wrong, a file is there already or cannot be written, or there is not that much.
    """
    paths = {name: out / f"{name}.jsonl" for name in [*held_out, TRAIN]}
    for path in paths.values():
        if path.exists():
            raise InputError(f"{path} exists already: choose another folder, or take it away.")
    parts = split([row for file in files for row in read_pairs(file, WholeRow)], held_out, seed=seed)
    fresh = {name: path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new") for name, path in paths.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}.") from error
    try:
        for name, rows in parts.items():
            with fresh[name].open("w", encoding="utf-8") as file:
                for row in rows:
                    said = row.model_dump(exclude_unset=True)
                    file.write(json.dumps(said, ensure_ascii=False) + "\n")
        for name, path in paths.items():
            fresh[name].replace(path)
    except OSError as error:
        raise InputError(f"{out} cannot be written to: {error.strerror}.") from error
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)
    return parts


def split(rows: Sequence[WholeRow], held_out: Mapping[str, float], *, seed: int = SEED) -> Parts:
    """Cut rows by query, a rewritten or translated one together with the one it comes from.

    Queries are drawn one by one until a part has the rows it is to have, so it may get a few more: those of its last
    query. The order of the draw is a hash of query and seed, whatever the order of the rows. A query with a row of
    several grades is not drawn: held-out rows have one grade.

    Raises:
        InputError: the queries that can be drawn are too few, or nothing is left to train on.
    """
    by_group: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups_of(rows, by_id=True)):
        by_group[group].append(place)
    graded = [group for group, places in by_group.items() if all(len(rows[i].label) == 1 for i in places)]
    drawn = iter(sorted(graded, key=lambda group: hashlib.sha256(f"{seed}\n{group}".encode()).digest()))
    part_of = [TRAIN] * len(rows)
    for name, amount in held_out.items():
        wanted = max(1, round(amount * len(rows) if amount < 1 else amount))
        found = 0
        while found < wanted:
            chosen = next(drawn, None)
            if chosen is None:
                raise InputError(
                    f"{name}: {wanted:,} rows are wanted, and the queries left to draw have {found:,} of one grade "
                    "each."
                )
            for place in by_group[chosen]:
                part_of[place] = name
            found += len(by_group[chosen])
    if TRAIN not in part_of:
        raise InputError(f"{', '.join(held_out)}: all rows would be held out, and none left to train on.")
    return {
        name: [row for row, part in zip(rows, part_of, strict=True) if part == name]
        for name in [*held_out, TRAIN]
    }
