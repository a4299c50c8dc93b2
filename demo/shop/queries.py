"""What shoppers of the demo shop type, in each locale, and what they mean by it.

Knows queries and their intents; judges nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from demo.shop.errors import ShopDataError
from demo.shop.intents import Intent
from demo.shop.schema import DATA, LOCALES, Said, checked, devices, families, held_out_families, read, words

Kind = Literal[
    "accessory",
    "inside word",
    "brand or word",
    "brand script",
    "amount",
    "without",
    "misspelling",
    "market word",
]


class ShopQuery(BaseModel):
    """One query of one locale.

    Attributes:
        id: the same in all locales.
        kind: what makes lexical search fail on it; the list is in ``data/queries.yaml``.
        held_out: whether it asks for a family that nothing is trained on.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    locale: str
    kind: Kind
    text: str
    intent: Intent
    held_out: bool


class QueryRow(BaseModel):
    """One query as the file has it, said in every locale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Kind
    text: Said
    intent: Intent


@cache
def queries(locale: str) -> tuple[ShopQuery, ...]:
    """The queries of a locale, in the order of the file.

    Raises:
        ShopDataError: the file says something that the rules cannot use.
        KeyError: the shop has no such locale.
    """
    if locale not in LOCALES:
        raise KeyError(locale)
    return tuple(
        ShopQuery(
            id=row.id,
            locale=locale,
            kind=row.kind,
            text=row.text[locale][0],
            intent=row.intent,
            held_out=bool(held_out_families() & set(row.intent.families)),
        )
        for row in _rows()
    )


@cache
def _rows() -> tuple[QueryRow, ...]:
    return read_queries(DATA / "queries.yaml")


def read_queries(path: Path) -> tuple[QueryRow, ...]:
    """The rows of a file of queries.

    Raises:
        ShopDataError: a row is wrong, or asks for what no product of the shop can have; the message names it.
    """
    rows: tuple[QueryRow, ...] = checked(tuple[QueryRow, ...], read(path), path)
    for row in rows:
        unknown = _unknown(row.intent)
        if unknown:
            raise ShopDataError(
                f"{path.name}, {row.id}: no product has {', '.join(unknown)}; correct the file."
            )
    return rows


def _unknown(intent: Intent) -> list[str]:
    """What an intent asks for and no product of its families can have: such a query would have no answer."""
    wanted = [families()[name] for name in intent.families if name in families()]
    known_axes = {axis: set(values) for family in wanted for axis, values in family.axes.items()}
    for family in wanted:
        for name in family.devices:
            if fixed := devices()[name].type:
                known_axes.setdefault("type", set()).add(fixed)
    own_devices = {name for family in wanted for name in [*family.devices, *family.fitted]}
    makers = {brand for family in wanted for brand in family.brands}
    makers |= {devices()[name].brand for family in wanted for name in family.devices}
    attributes = [*intent.require.items(), *intent.exclude.items(), *intent.never.items()]
    return [
        *(name for name in (*intent.families, *intent.also) if name not in families()),
        *(name for name in intent.fits if name not in own_devices),
        *(name for name in intent.brands if name not in makers),
        *(name for name in intent.features if name not in words()["features"]),
        *(
            f"{axis} {value}"
            for axis, values in attributes
            for value in values
            if axis != "features" and value not in known_axes.get(axis, set())
        ),
        *(axis for axis in (*intent.at_least, *intent.at_most) if axis not in known_axes),
    ]
