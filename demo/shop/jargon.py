"""What jargon.yaml says: in a few words what each family is, and words for it that stand in no title.

Knows the file and the families' ids; makes no knowledge entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from demo.shop.errors import ShopDataError
from demo.shop.schema import DATA, brands, checked, devices, families, read


class ByLocale(BaseModel):
    """Words of each of the shop's locales."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    en: tuple[str, ...] = ()
    es: tuple[str, ...] = ()
    ko: tuple[str, ...] = ()
    ja: tuple[str, ...] = ()
    zh_tw: tuple[str, ...] = Field(default=(), alias="zh-TW")

    def said(self, locale: str) -> tuple[str, ...]:
        """The words of one locale."""
        by_locale = {"en": self.en, "es": self.es, "ko": self.ko, "ja": self.ja, "zh-TW": self.zh_tw}
        return by_locale[locale]


class Words(ByLocale):
    """One family: ``gloss`` says in English what it is; what shoppers call it in each locale."""

    gloss: str = Field(max_length=45)


class Jargon(BaseModel):
    """The whole file. Keys are ids of families, brands and devices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    families: Mapping[str, Words]
    common_words: Mapping[str, str]
    ambiguous: ByLocale
    devices: Mapping[str, str]


@cache
def jargon() -> Jargon:
    """The whole file.

    Raises:
        ShopDataError: a family or a foreign device has no words, or words are of none.
    """
    path = DATA / "jargon.yaml"
    found: Jargon = checked(Jargon, read(path), path)
    sold = {device for family in families().values() for device in family.devices}
    for what, wrong in (
        ("families", set(found.families) ^ set(families())),
        ("brands", set(found.common_words) - set(brands())),
        ("devices", set(found.devices) ^ (set(devices()) - sold)),
    ):
        if wrong:
            raise ShopDataError(f"jargon.yaml does not fit the {what}: look at {', '.join(sorted(wrong))}.")
    return found
