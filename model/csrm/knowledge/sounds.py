"""How a spelling sounds, whatever script it is in: ストリーボ, 스트리보 and Strivo; 手机壳 and 手機殼.

Hangul, kana and Chinese characters (in Mandarin) are written in Latin letters, then sounds that scripts do not keep
apart become one (l and r, b and v, g and k). Two keys come of it: the `frame`, consonants alone, which a
transliteration keeps, and the `spoken` form with vowels, by which two spellings of one frame are compared.
Knows strings only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from pypinyin import Style, pinyin
from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from csrm.knowledge.folding import Script, fold, script

_MAX_WORDS = 3
"""Words of a query that are compared as one name."""
_LIKE = 0.7
"""Share of a spoken form that two spellings of one frame must have in common."""

_RIVALS = 20
"""Spoken forms that are kept of one frame, for words of a query."""

_INITIALS = [
    "g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p", "h",
]  # fmt: skip
_VOWELS = [
    "a", "e", "ya", "ye", "o", "e", "yo", "ye", "o", "wa", "we", "we", "yo", "u", "wo", "we", "wi",
    "yu", "u", "i", "i",
]  # fmt: skip
_FINALS = [
    "", "k", "k", "ks", "n", "nj", "nh", "t", "l", "lk", "lm", "lp", "ls", "lt", "lp", "lh", "m", "p",
    "ps", "t", "t", "ng", "t", "t", "k", "t", "p", "t",
]  # fmt: skip

_PLAIN_VOWELS = ("a", "e", "i", "o", "u")

_ONE_SOUND = [
    (re.compile(pattern), sound)
    for pattern, sound in (
        ("tch|sch|sh|ch|ts", "s"),
        ("ph", "p"),
        ("th", "t"),
        ("ck|qu", "k"),
        ("ng", "n"),
        ("x", "ks"),
        ("c(?=[eiy])|[jz]", "s"),
        ("[cgq]", "k"),
        ("d", "t"),
        ("[bfv]", "p"),
        ("l", "r"),
        ("m", "n"),
        ("[hwy]", ""),
    )
]
_VOWEL = re.compile("[aeiou]+")
_TWICE = re.compile(r"(.)\1+")


@dataclass(frozen=True, slots=True)
class Sound:
    """Two spellings are one name if the frames are equal and the spoken forms alike."""

    frame: str
    spoken: str


@dataclass(frozen=True, slots=True)
class Sounding:
    """A spelling that sounds like words of a query."""

    owner: int
    words: str
    """Of the folded query."""
    likeness: float
    """Share of the spoken form in common, from `_LIKE` to 1."""


class SoundFinder:
    """A dictionary of spellings by their sound, built once, safe to share between threads."""

    def __init__(self, spellings: Iterable[tuple[int, str]]) -> None:
        """Args: ``spellings`` are (owner, spelling) pairs, as for `SpellingFinder`."""
        self._by_frame: dict[str, dict[str, list[int]]] = defaultdict(dict)
        for owner, spelling in spellings:
            if (heard := sound(spelling)) is not None:
                owners = self._by_frame[heard.frame].setdefault(heard.spoken, [])
                if owner not in owners[-1:]:
                    owners.append(owner)

    def find(self, folded: str) -> list[Sounding]:
        """For every owner the words of the folded query that sound most like one of its spellings."""
        best: dict[int, Sounding] = {}
        for words in _windows(folded):
            heard = sound(words)
            rivals = self._by_frame.get(heard.frame, {}) if heard else {}
            alike = extract(
                heard.spoken if heard else "",
                rivals.keys(),
                scorer=OSA.normalized_similarity,
                score_cutoff=_LIKE,
                limit=_RIVALS,
            )
            for spoken, likeness, _ in alike:
                for owner in rivals[spoken]:
                    if owner not in best or likeness > best[owner].likeness:
                        best[owner] = Sounding(owner, words, likeness)
        return list(best.values())


def read_alike(one: str, other: str) -> bool:
    """Whether two texts of Chinese characters are read the same in Mandarin, but for the tones: 电脑 and 電腦."""
    first, second = (pinyin(text, style=Style.NORMAL) for text in (one, other))
    return bool(first == second)


def sound(text: str) -> Sound | None:
    """How a text sounds; None for one with characters of no sound, such as digits, or too short to tell."""
    letters = _letters(fold(text))
    if letters is None:
        return None
    for pattern, replacement in _ONE_SOUND:
        letters = pattern.sub(replacement, letters)
    frame = _TWICE.sub(r"\1", _VOWEL.sub("", letters))
    spoken = _TWICE.sub(r"\1", letters.replace("u", ""))  # no u: kana and Hangul put it where there is none
    return Sound(frame, spoken) if len(frame) >= 2 else None


def _letters(folded: str) -> str | None:
    """In Latin letters without blanks; None where there is a character of no sound."""
    letters = ""
    for char in folded:
        if char.isascii():
            if char.isdigit():
                return None
            letters += char if char.isalpha() else ""
        elif (spoken := _spoken(char)) is None:
            return None
        elif spoken.startswith("~"):  # small kana: it takes the place of the vowel before it
            letters = letters[:-1] + spoken[1:] if letters[-1:] in _PLAIN_VOWELS else letters
        else:
            letters += spoken
    return letters


@lru_cache(maxsize=16_384)
def _spoken(char: str) -> str | None:
    """One character that is not ASCII, folded; None where it has no sound here."""
    if "가" <= char <= "힣":
        number = ord(char) - 0xAC00
        return _INITIALS[number // 588] + _VOWELS[number % 588 // 28] + _FINALS[number % 28]
    if script(char) is Script.HAN:
        latin = pinyin(char, style=Style.NORMAL, errors="ignore")
        return latin[0][0].replace("ü", "u") if latin else None
    if char in "ーっ・":
        return ""
    name = unicodedata.name(char, "")  # of は: HIRAGANA LETTER HA
    if not name.startswith("HIRAGANA LETTER"):
        return None
    latin_name = name.rsplit(" ", 1)[-1].lower()
    return f"~{latin_name}" if " SMALL " in name else {"tu": "tsu", "hu": "fu"}.get(latin_name, latin_name)


def _windows(folded: str) -> Iterator[str]:
    words = folded.split()
    for size in range(1, _MAX_WORDS + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])
