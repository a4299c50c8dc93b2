"""Tells whether a word of a query is a misspelling of a known spelling: edits apart and edits allowed.

Knows two folded strings at a time, no dictionary.
"""

from __future__ import annotations

from functools import lru_cache

from rapidfuzz.distance import OSA

from csrm.knowledge.folding import Script, script


def misspelled_in(query: str, spelling: str) -> str | None:
    """The words of the query that are the spelling but for a slip, or None. Both folded.

    A spelling of several words is compared with as many words of the query, of which the short ones must be
    right: "charger for" is no "charger cord". The first characters must agree: slips happen later in a word,
    and other words ("mango", "tango") begin otherwise.
    """
    allowed = _allowed_edits(spelling)
    if not allowed:
        return None
    meant, typed = spelling.split(" "), query.split()
    fixed = [place for place, word in enumerate(meant) if len(meant) > 1 and not _allowed_edits(word)]
    for start in range(len(typed) - len(meant) + 1):
        window = typed[start : start + len(meant)]
        if any(window[place] != meant[place] for place in fixed) or window[0][0] != spelling[0]:
            continue
        words = " ".join(window)
        if 0 < edits(words, spelling, allowed) <= allowed:
            return words
    return None


def edits(one: str, other: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that part two strings (optimal string
    alignment distance); where there are more than ``limit``, any number above it."""
    return OSA.distance(one, other, score_cutoff=limit)


@lru_cache(maxsize=65_536)
def _allowed_edits(spelling: str) -> int:
    """One from five letters on (four in kana and Hangul), two from nine; none in Han (signs are words)."""
    scripts = {script(char) for char in spelling}
    if Script.HAN in scripts or Script.DIGIT in scripts:  # iphone 14 is no slip for iphone 15
        return 0
    short = 4 if scripts & {Script.KANA, Script.HANGUL} else 5
    return 0 if len(spelling) < short else 1 if len(spelling) < 9 else 2
