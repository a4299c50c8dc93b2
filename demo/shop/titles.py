"""Titles as sellers of each market write them, composed from a product's facts.

Every attribute of a product stands in its title, in each locale: a judgment never rests on something that
the reader of the title cannot see. Knows patterns and words; judges nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from demo.shop import draw
from demo.shop.schema import Family, families, title_styles, words
from demo.shop.wording import brand_in_title, device_forms, devices_in_title, value_forms

_SPECS = ("storage", "size", "count", "flavor", "material", "scent")
_SMALL_WORDS = frozenset({"for", "of", "with", "and", "de", "para", "con", "sin", "en", "in"})


class Facts(BaseModel):
    """What a product is, in no language.

    Attributes:
        attributes: values by attribute name; ``features`` is in its own field.
        device: the device that this product is, for phones, cameras and so on.
        fits: devices that it fits; empty when it is universal or nothing fits anything.
        line: the product line, as place in the family's pool of names and suffix (``3:Pro``); empty without one.
        aside: which of the family's distractors its titles carry.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    family: str
    brand: str
    attributes: dict[str, str]
    features: tuple[str, ...] = ()
    device: str | None = None
    fits: tuple[str, ...] = ()
    line: str = ""
    aside: int | None = None


def title(facts: Facts, locale: str) -> str:
    """The title of a product in one locale."""
    family = families()[facts.family]
    seed = facts.id
    slots = {
        "brand": brand_in_title(facts.brand, locale, seed),
        "model": model_name(facts, locale),
        "thing": _thing(facts, family, locale),
        "fits": devices_in_title(facts.fits, locale, seed) if facts.fits else "",
        "specs": _specs(facts, locale),
        "color": value_forms("color", facts.attributes["color"], locale)[0]
        if "color" in facts.attributes
        else "",
        "features": _joined([words()["features"][name][locale][0] for name in facts.features], locale),
        "aside": family.distractors[facts.aside][locale][0] if facts.aside is not None else "",
        "hook": draw.pick(title_styles().hooks[locale], seed, "hook", locale),
    }
    pattern = draw.pick(title_styles().patterns[family.style][locale], seed, "pattern", locale)
    return _as_typed(_filled(pattern, slots), locale, seed)


def model_name(facts: Facts, locale: str) -> str:
    """The model: the device's own name, or the product line with its number."""
    family = families()[facts.family]
    if facts.device is not None:
        return device_forms(facts.device, locale)[0]
    if not facts.line or family.model is None:
        return ""
    place, _, suffix = facts.line.partition(":")
    latin, hangul, katakana = title_styles().models[family.model][int(place)]
    name = {"ko": hangul, "ja": draw.pick([latin, katakana], facts.id, "line script")}.get(locale, latin)
    return f"{name} {suffix}".strip()


def _thing(facts: Facts, family: Family, locale: str) -> str:
    """Gender, type and name in the order of the language: ``Men's Running Shoes``, ``Zapatillas Running Hombre``."""
    names = family.names[locale]
    name = draw.pick(
        names[:2] if draw.chance(0.8, facts.id, "common name", locale) else names, facts.id, "name", locale
    )
    before = [
        value_forms(axis, facts.attributes[axis], locale)[0]
        for axis in ("gender", "type")
        if axis in facts.attributes
    ]
    before = [word for word in before if word.casefold() not in name.casefold()]
    if locale == "es":
        return " ".join([_capital(name), *reversed(before)])
    if locale == "zh-TW":
        return "".join([*before, name])
    if locale == "en":
        name = " ".join(_capital(word) if word not in _SMALL_WORDS else word for word in name.split())
    return " ".join([*before, name])


def _specs(facts: Facts, locale: str) -> str:
    forms = [
        value_forms(axis, facts.attributes[axis], locale)[0] for axis in _SPECS if axis in facts.attributes
    ]
    return _joined(forms, locale)


def _joined(parts: Sequence[str], locale: str) -> str:
    return (", " if locale in ("en", "es") else " ").join(parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _filled(pattern: str, slots: dict[str, str]) -> str:
    """The pattern with its slots; brackets and separators around an empty slot go with it."""
    text = pattern
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    text = re.sub(r"[(\[【]\s*/?\s*[)\]】]", " ", text)
    text = re.sub(r"\(\s*/|/\s*\)", lambda found: "(" if "(" in found[0] else ")", text)
    text = re.sub(r"\bfor\s+(?=,)|(with|for|con|para)\s*(?=[,|)\-]|$)", "", text)
    text = re.sub(
        r"(?:\s*[,|/]\s*|\s-\s|\s*,?\s-\s){2,}", lambda found: " | " if "|" in found[0] else ", ", text
    )
    text = re.sub(r",\s+-\s", " - ", text)
    text = re.sub(r"\s+([,)])", r"\1", text)
    text = re.sub(r"\s{2,}", " ", text)
    return re.sub(r"^[\s,|/-]+|[\s,|/-]+$", "", text)


def _as_typed(text: str, locale: str, seed: str) -> str:
    """Sellers' habits: some Spanish titles have lost their accents, some Taiwanese ones their spaces."""
    if locale == "es" and draw.chance(0.15, seed, "no accents"):
        kept = text.replace("ñ", "\0").replace("Ñ", "\1")
        bare = "".join(char for char in unicodedata.normalize("NFD", kept) if not unicodedata.combining(char))
        return bare.replace("\0", "ñ").replace("\1", "Ñ")
    return text
