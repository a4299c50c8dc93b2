"""What the shop's data files may say: families, brands, devices, words and title patterns, checked when read.

Knows YAML and the shapes of the data; composes no title and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from demo.shop.errors import ShopDataError

LOCALES = ("en", "es", "ko", "ja", "zh-TW")
"""The shop's five languages, in the order in which the data files give texts."""

DATA = Path(__file__).parent / "data"

Grade = Literal["E", "S", "C", "I"]


def _said(value: Any) -> Any:
    """``[en, es, ko, ja, zh-TW]`` with alternatives parted by ``|`` -> ``{locale: (alternative, ...)}``."""
    if not isinstance(value, list) or len(value) != len(LOCALES):
        raise ValueError(f"needs five texts, one for each of {', '.join(LOCALES)}")
    return {
        locale: tuple(part.strip() for part in str(text).split("|"))
        for locale, text in zip(LOCALES, value, strict=True)
    }


Said = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_said)]
"""One thing as it is said in each locale: alternatives, the sellers' first."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Brand(_Data):
    """A brand and its spellings. ``real``: a real maker whose things something fits; the shop sells none."""

    latin: str
    ko: str
    ja: str
    zh: str
    typos: tuple[str, ...] = ()
    real: bool = False

    def local(self, locale: str) -> str:
        """The brand in the market's own script (Latin where that is the script)."""
        return {"ko": self.ko, "ja": self.ja, "zh-TW": self.zh}.get(locale, self.latin)


class Device(_Data):
    """A thing that others must fit. ``type`` fixes that attribute of the thing itself."""

    brand: str
    name: Said
    with_brand: bool = True
    type: str | None = None


class Family(_Data):
    """A product family: what it is called, what it comes in, and what it has to do with other families.

    ``accessory_of`` names the things it is an accessory, part or consumable of; ``goes_with`` what it is used
    together with; ``substitutes`` the things whose work it can do. An accessory may go only with hosts of some
    types (``host_types``: coffee beans with no capsule machine) or only with hosts that share an attribute
    (``same``: guitar strings the type, pan lids the size). ``distractors`` are words in titles that name
    something else.
    """

    id: str
    path: Said
    group: str
    category: Said
    names: Said
    typos: Said
    n: int = Field(ge=10, le=40)
    price: tuple[float, float]
    style: str
    brands: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    model: str | None = None
    fits: tuple[str, ...] = ()
    axes: dict[str, tuple[str, ...]]
    features: tuple[str, ...] = ()
    accessory_of: tuple[str, ...] = ()
    goes_with: tuple[str, ...] = ()
    substitutes: tuple[str, ...] = ()
    host_types: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    distractors: tuple[Said, ...] = ()

    @property
    def fitted(self) -> tuple[str, ...]:
        """Devices that its products fit; one comes as often as it is listed."""
        return tuple(device for entry in self.fits for device in entry.split("+"))


class TitleStyles(_Data):
    """Title patterns by style and locale, marketing words by locale, and names of product lines by pool."""

    patterns: dict[str, dict[str, tuple[str, ...]]]
    hooks: dict[str, tuple[str, ...]]
    models: dict[str, tuple[tuple[str, str, str], ...]]


def read(path: Path) -> Any:
    """One YAML file.

    Raises:
        ShopDataError: it is missing or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ShopDataError(f"The shop's data file {path.name} cannot be read: {error}.") from error


def checked(shape: Any, data: Any, path: Path) -> Any:
    """``data`` as ``shape``.

    Raises:
        ShopDataError: it is not of that shape; the message names file and field.
    """
    try:
        return TypeAdapter(shape).validate_python(data)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ShopDataError(f"{path.name}, {place}: {fault['msg']}; correct the file.") from error


@cache
def families() -> Mapping[str, Family]:
    """All product families by id, in the order of the files."""
    found: dict[str, Family] = {}
    for path in sorted((DATA / "families").glob("*.yaml")):
        data = read(path)
        for name, fields in data["families"].items():
            found[name] = checked(Family, {"id": name, "path": data["path"], **fields}, path)
    for family in found.values():
        _check_family(family, found)
    return found


@cache
def brands() -> Mapping[str, Brand]:
    """All brands by id."""
    path = DATA / "brands.yaml"
    return checked(dict[str, Brand], read(path), path)


@cache
def devices() -> Mapping[str, Device]:
    """All devices by id."""
    path = DATA / "devices.yaml"
    return checked(dict[str, Device], read(path), path)


@cache
def words() -> Mapping[str, Mapping[str, Said]]:
    """Values of attributes as they are said: ``words()["color"]["black"]["ko"] == ("블랙", "검정")``."""
    path = DATA / "words.yaml"
    return checked(dict[str, dict[str, Said]], read(path), path)


@cache
def units() -> Mapping[str, Said]:
    """Units as they are said: ``units()["ml"]["ko"] == ("{n}ml", "{n}미리")``."""
    path = DATA / "units.yaml"
    return checked(dict[str, Said], read(path), path)


@cache
def title_styles() -> TitleStyles:
    """How sellers write titles."""
    path = DATA / "titles.yaml"
    return checked(TitleStyles, read(path), path)


@cache
def held_out_families() -> frozenset[str]:
    """Families that nothing is trained on: whole groups, so that a thing and its accessories stay together."""
    path = DATA / "held_out.yaml"
    groups = checked(list[str], read(path), path)
    unknown = set(groups) - {family.group for family in families().values()}
    if unknown:
        raise ShopDataError(f"held_out.yaml names groups that no family has: {', '.join(sorted(unknown))}.")
    return frozenset(family.id for family in families().values() if family.group in groups)


def _check_family(family: Family, known: Mapping[str, Family]) -> None:
    for field, names, allowed in (
        ("accessory_of", family.accessory_of, known),
        ("goes_with", family.goes_with, known),
        ("substitutes", family.substitutes, known),
        ("brands", family.brands, brands()),
        ("devices", family.devices, devices()),
        ("fits", family.fitted, devices()),
        ("features", family.features, words()["features"]),
        ("style", [family.style], title_styles().patterns),
        ("model", [family.model] if family.model else [], title_styles().models),
    ):
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise ShopDataError(f"Family {family.id}, {field}: unknown {', '.join(unknown)}.")
    for axis, values in family.axes.items():
        for value in values:
            _, _, unit = value.partition(" ")
            if unit not in units() and value not in words().get(axis, {}):
                raise ShopDataError(
                    f"Family {family.id}, axis {axis}: nobody says {value!r}; add it to words.yaml."
                )
