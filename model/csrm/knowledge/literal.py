"""Finds spellings that stand in a query letter by letter: longest first, at word boundaries, in any script.

Chinese and Japanese write no spaces, and Korean compounds run on, so what counts as a boundary depends on the
script and on the length of the spelling: "パン" (bread) is not in "パンツ" (trousers), "에어팟" is in
"에어팟케이스". Nor do people agree where a space belongs: "air fryer" is in "airfryer", "스마트 폰" is "스마트폰".
Knows strings only: neither entries nor vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from csrm.knowledge.folding import Script, fold, fold_width, script, to_hiragana

_PREFIX = 2


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A spelling found in a query."""

    owner: int
    """Whose spelling it is: the number given to `SpellingFinder`."""
    spelling: str
    """As it was given, not folded."""
    start: int
    """In the folded query, in characters."""
    length: int


class SpellingFinder:
    """A dictionary of spellings, built once, safe to share between threads."""

    def __init__(self, spellings: Iterable[tuple[int, str]]) -> None:
        """Args: ``spellings`` are (owner, spelling) pairs; an owner may have many, a spelling many owners."""
        self._owners: dict[str, list[tuple[int, str]]] = defaultdict(list)
        lengths: dict[str, set[int]] = defaultdict(set)
        for owner, spelling in spellings:
            folded = fold(spelling).replace(" ", "")
            if not folded or any(owner == known for known, _ in self._owners.get(folded, ())):
                continue
            self._owners[folded].append((owner, spelling))
            lengths[folded[:_PREFIX]].add(len(folded))
        self._lengths = {prefix: sorted(found, reverse=True) for prefix, found in lengths.items()}

    def find(self, query: str, *, head_first: bool = False) -> list[Occurrence]:
        """Every spelling in the query that no longer one covers, longest first, then from left to right.

        Of two that overlap, the one with the head of the phrase counts: "エレキギター弦" are strings, "ギター弦".

        Args:
            query: not folded.
            head_first: whether the language puts the head first, as Spanish does ("funda portátil").
        """
        seen = fold_width(query)
        places = [place for place, char in enumerate(seen) if char != " "]
        text = to_hiragana(seen).replace(" ", "")
        spans = self._spans(text, seen, places)
        longest = [one for one in spans if not any(_covers(other, one) for other in spans)]
        longest.sort(key=lambda span: span[0] if head_first else -span[1])
        kept: list[tuple[int, int]] = []
        for start, end in longest:
            if not any(start < until and begin < end for begin, until in kept):
                kept.append((start, end))
        kept.sort(key=lambda span: (span[0] - span[1], span[0]))
        return [
            Occurrence(owner, word, places[start], places[end - 1] + 1 - places[start])
            for start, end in kept
            for owner, word in self._owners[text[start:end]]
        ]

    def _spans(self, text: str, seen: str, places: list[int]) -> set[tuple[int, int]]:
        """(start, end) in ``text``, which is ``seen`` without its blanks, of all that are words there."""
        spans: set[tuple[int, int]] = set()
        runs_on: set[tuple[int, int]] = set()
        for start in range(len(text)):
            for prefix in {text[start : start + _PREFIX], text[start : start + 1]}:
                for length in self._lengths.get(prefix, ()):
                    end = start + length
                    if end > len(text) or text[start:end] not in self._owners:
                        continue
                    standing = _standing(seen, places[start], places[end - 1] + 1)
                    if standing is Standing.WORD:
                        spans.add((start, end))
                    elif standing is Standing.SHORT:
                        runs_on.add((start, end))
        known = spans | runs_on
        begins, ends = {start for start, _ in known}, {end for _, end in known}
        return spans | {(start, end) for start, end in runs_on if end in begins or start in ends}


class Standing(Enum):
    """How a spelling stands in a query."""

    WORD = "word"  # a word, or a part of a compound
    SHORT = "short"  # two syllables of Hangul that run on: a part of a compound if the next one is known too
    PIECE = "piece"  # of another word


def _covers(longer: tuple[int, int], span: tuple[int, int]) -> bool:
    return longer != span and longer[0] <= span[0] and span[1] <= longer[1]


def _standing(text: str, start: int, end: int) -> Standing:
    left = start == 0 or _breaks(text[start - 1], text[start])
    right = end == len(text) or _breaks(text[end - 1], text[end])
    if left and right:
        return Standing.WORD
    if " " in text[start:end]:  # put together from two words, it takes no piece of a third
        return Standing.PIECE
    length = end - start
    classes = {script(char) for char in text[start:end]} - {Script.GAP}
    if classes == {Script.HAN}:
        return Standing.WORD if length >= 2 else Standing.PIECE
    if classes <= {Script.HAN, Script.HANGUL} and Script.HANGUL in classes:
        if length == 2 and (left or right):
            return Standing.SHORT
        return Standing.WORD if length >= 3 else Standing.PIECE
    if classes <= {Script.HAN, Script.KANA}:
        return Standing.WORD if length >= 4 or (length == 3 and left) else Standing.PIECE
    # Mixed with letters or digits: the run-on side must at least not be the spaced script's.
    sides = [(left, text[start]), (right, text[end - 1])]
    free = all(open_ or script(edge) in (Script.HAN, Script.HANGUL, Script.KANA) for open_, edge in sides)
    return Standing.WORD if free else Standing.PIECE


def _breaks(before: str, after: str) -> bool:
    """Whether a word may end between these two: at any change of script, as in "iphone15", "apple手机"."""
    a, b = script(before), script(after)
    return a is Script.GAP or b is Script.GAP or a is not b
