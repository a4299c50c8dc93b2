"""Folds spelling variants of one word into one string, and tells where a word may begin or end in it.

Full and half width, case, accents of Latin letters, katakana and hiragana are folded. Knows characters only.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from functools import lru_cache


class Script(Enum):
    """What matters of a character for word boundaries."""

    GAP = "gap"
    DIGIT = "digit"
    LETTER = "letter"  # of a script that writes spaces between words: Latin, Cyrillic, Arabic
    HANGUL = "hangul"
    KANA = "kana"
    HAN = "han"


def fold(text: str) -> str:
    """``ＡＰＰＬＥ　ｱｲﾌｫﾝ`` folds to ``apple あいふぉん``; white space becomes single blanks."""
    return to_hiragana(fold_width(text))


def fold_width(text: str) -> str:
    """As `fold`, but katakana stays katakana."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(_strip_accent(char) for char in folded).split())


def to_hiragana(text: str) -> str:
    """Katakana to hiragana, one character to one."""
    return "".join(chr(ord(char) - 0x60) if "ァ" <= char <= "ヶ" else char for char in text)


@lru_cache(maxsize=8192)
def script(char: str) -> Script:
    """The script class of one character."""
    code = ord(char)
    if 0xAC00 <= code <= 0xD7A3 or 0x1100 <= code <= 0x11FF or 0x3130 <= code <= 0x318F:
        return Script.HANGUL
    if 0x3041 <= code <= 0x30FF and char != "・":
        return Script.KANA
    if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x323AF or char == "々":
        return Script.HAN
    if char.isdigit():
        return Script.DIGIT
    return Script.LETTER if char.isalpha() else Script.GAP


def writing(text: str) -> Script:
    """What a text is written in: kana or hangul if there is any, else Han if there is any, else letters."""
    scripts = {script(char) for char in text}
    return next(
        (found for found in (Script.KANA, Script.HANGUL, Script.HAN) if found in scripts), Script.LETTER
    )


@lru_cache(maxsize=8192)
def _strip_accent(char: str) -> str:
    if ord(char) < 0xC0:
        return char
    base = unicodedata.normalize("NFD", char)[0]
    return base if base.isascii() else char
