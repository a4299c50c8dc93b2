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

    def find(self, query: str) -> list[Occurrence]:
        """Every spelling in the query that no longer one covers, longest first, then from left to right."""
        seen = fold_width(query)
        places = [place for place, char in enumerate(seen) if char != " "]
        text = to_hiragana(seen).replace(" ", "")
        candidates: list[tuple[int, int]] = []
        for start in range(len(text)):
            for prefix in {text[start : start + _PREFIX], text[start : start + 1]}:
                for length in self._lengths.get(prefix, ()):
                    if start + length > len(text):
                        continue
                    end = start + length
                    if text[start:end] in self._owners and _stands_alone(
                        seen, places[start], places[end - 1] + 1
                    ):
                        candidates.append((-length, start))
        taken = [False] * len(text)
        found: list[Occurrence] = []
        for minus_length, start in sorted(set(candidates)):
            end = start - minus_length
            if any(taken[start:end]):
                continue
            taken[start:end] = [True] * (end - start)
            begin, length = places[start], places[end - 1] + 1 - places[start]
            found += [Occurrence(owner, word, begin, length) for owner, word in self._owners[text[start:end]]]
        return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` is a word or a part of a compound, and not a piece of another word."""
    left = start == 0 or _breaks(text[start - 1], text[start])
    right = end == len(text) or _breaks(text[end - 1], text[end])
    if left and right:
        return True
    length = end - start - text.count(" ", start, end)
    classes = {script(char) for char in text[start:end]} - {Script.GAP}
    if classes == {Script.HAN}:
        return length >= 2
    if classes <= {Script.HAN, Script.HANGUL} and Script.HANGUL in classes:
        return length >= 3 or (length == 2 and (left or right))
    if classes <= {Script.HAN, Script.KANA}:
        return length >= 4 or (length == 3 and left)
    # Mixed with letters or digits: the run-on side must at least not be the spaced script's.
    sides = [(left, text[start]), (right, text[end - 1])]
    return all(open_ or script(edge) in (Script.HAN, Script.HANGUL, Script.KANA) for open_, edge in sides)


def _breaks(before: str, after: str) -> bool:
    """Whether a word may end between these two: at any change of script, as in "iphone15", "apple手机"."""
    a, b = script(before), script(after)
    return a is Script.GAP or b is Script.GAP or a is not b
