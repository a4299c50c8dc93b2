"""Which known words stand in a query: terms letter by letter or misspelled, and past queries of the same text.

Knows entries and strings; knows no vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrm.knowledge.edits import misspelled_in
from csrm.knowledge.entries import CategoryEntry, QueryEntry, TermEntry
from csrm.knowledge.folding import Script, fold, fold_width, script
from csrm.knowledge.literal import Occurrence, SpellingFinder
from csrm.knowledge.ngrams import NgramIndex
from csrm.knowledge.sounds import SoundFinder, Sounding, read_alike

_LIKELY_SLIP = 0.45
"""Share of a term's n-grams in the query from which its edits are counted: one slip in five halves it."""
_CANDIDATES = 32
"""Spellings whose edits are counted, for one query."""
_HEAD_FIRST = frozenset({"es", "pt", "fr", "it", "ca"})
"""Languages in which the thing comes before what it is of: "funda portátil", "cuerdas guitarra"."""
_OTHER_LANGUAGE = 0.96
"""An entry in another language than the shop's counts a little less: by no more than one rank."""


@dataclass(frozen=True, slots=True)
class FoundWords:
    """Entries by their number in the store, with the words that the shopper used for them."""

    exact: Mapping[int, str]
    """Number -> spelling as the entry has it; best first: the longest, then from left to right."""
    slips: Mapping[int, str]
    """Number of a term -> the words of the query that misspell it, or sound like it."""
    likeness: Mapping[int, float]
    """Number of a term in ``slips`` -> share of its n-grams that are in the query, or of its sound."""
    whole: bool
    """Whether the terms found leave no word of the query over."""


class KnownWords:
    """The spellings of a store, built once, safe to share between threads."""

    def __init__(
        self,
        entries: Sequence[QueryEntry | TermEntry | CategoryEntry],
        is_word: Callable[[str], bool] = lambda text: False,
    ) -> None:
        """
        Args:
            entries: of the store.
            is_word: whether a text is a word that many people write, which is then no slip for a word of the store:
                "capa" is none for "carpa", nor does "sin" sound like something else.
        """
        self._entries, self._is_word = entries, is_word
        spelled = [
            (number, spelling)
            for number, entry in enumerate(entries)
            if isinstance(entry, TermEntry)
            for spelling in entry.spellings()
        ]
        self._finder = SpellingFinder(spelled)
        spelled = [one for one in spelled if not _must_be_typed(entries[one[0]])]
        self._owners = [number for number, _ in spelled]
        self._folded = [fold(spelling) for _, spelling in spelled]
        self._ngrams = NgramIndex([spelling for _, spelling in spelled])
        self._sounds = SoundFinder(spelled)
        self._queries: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(entries):
            if isinstance(entry, QueryEntry):
                self._queries[fold(entry.query)].append(number)

    def find(
        self,
        query: str,
        locale: str | None,
        believable: Callable[[int, float], bool] = lambda number, likeness: True,
    ) -> FoundWords:
        """All of them.

        Args:
            query: what the shopper typed.
            locale: the shop's language.
            believable: whether an entry, by its number, may be meant by words that only sound like it, and
                by what share.
        """
        folded = fold(query)
        terms = self._terms(query, locale)
        slips, likeness = self._slips(query, folded, locale, terms, believable)
        misread = [_span(folded, words) for words in slips.values()]
        # A word within a longer, misspelled one means that: "cascos" are headphones, "cascos bici" helmets.
        terms = [one for one in terms if not any(one.start in span for span in misread)]
        spans = [*misread, *(range(one.start, one.start + one.length) for one in terms)]
        covered = {place for span in spans for place in span}
        return FoundWords(
            exact=self._ranked(terms, folded, query, locale),
            slips={number: _as_typed(query, folded, words) for number, words in slips.items()},
            likeness=likeness,
            whole=bool(spans) and not any(c.isalnum() for i, c in enumerate(folded) if i not in covered),
        )

    def _terms(self, query: str, locale: str | None) -> list[Occurrence]:
        """Terms in the query; of those with one spelling the shop's language's, if there is one."""
        places: dict[int, list[Occurrence]] = defaultdict(list)
        for found in self._finder.find(query, head_first=language(locale) in _HEAD_FIRST):
            entry = self._entries[found.owner]
            abroad = _must_be_typed(entry) and not same_language(entry.locale, locale)
            if not abroad and not false_friend(entry.locale, locale, found.spelling):
                places[found.start].append(found)
        kept: list[Occurrence] = []
        for rivals in places.values():
            own = [one for one in rivals if same_language(self._entries[one.owner].locale, locale)]
            kept += own or rivals
        return kept

    def _ranked(
        self, terms: Iterable[Occurrence], folded: str, query: str, locale: str | None
    ) -> dict[int, str]:
        found = [(-one.length, one.start, one.owner, one.spelling) for one in terms]
        found += [(-len(folded), 0, number, query) for number in self._queries.get(folded, ())]

        def rank(item: tuple[int, int, int, str]) -> tuple[int, int, float, str]:
            length, start, number, _ = item
            entry = self._entries[number]
            return length, start, -entry.weight * locale_factor(entry.locale, locale), entry.id

        ranked: dict[int, str] = {}
        for _, _, number, spelling in sorted(found, key=rank):
            ranked.setdefault(number, spelling)
        return ranked

    def _slips(
        self,
        query: str,
        folded: str,
        locale: str | None,
        known: Sequence[Occurrence],
        believable: Callable[[int, float], bool],
    ) -> tuple[dict[int, str], dict[int, float]]:
        def meant(words: str) -> bool:
            return _within(_span(folded, words), known) or self._is_word(_as_typed(query, folded, words))

        shares = self._ngrams.covered(folded)
        slips: dict[int, str] = {}
        likeness: dict[int, float] = {}
        likely = np.flatnonzero(shares >= _LIKELY_SLIP)
        for row in likely[np.argsort(-shares[likely], kind="stable")][:_CANDIDATES].tolist():
            number = self._owners[row]
            if number in slips or not same_language(self._entries[number].locale, locale):
                continue
            words = misspelled_in(folded, self._folded[row])
            if words and not meant(words):
                slips[number] = words
                likeness[number] = float(shares[row])
        for heard in self._sounds.find(folded):
            if heard.owner in slips or meant(heard.words) or self._homophone(heard):
                continue
            if believable(heard.owner, heard.likeness):
                slips[heard.owner] = heard.words
                likeness[heard.owner] = heard.likeness
        longest = {
            number: words
            for number, words in slips.items()
            if not any(words != longer and words in longer for longer in slips.values())
        }
        return longest, {number: likeness[number] for number in longest}

    def _homophone(self, heard: Sounding) -> bool:
        """Whether words are a Chinese word of their own: of one sound there are many, and one or two characters
        transcribe no name. Other characters of the same word, as 电脑 of 電腦, sound the same."""
        if len(heard.words) > 2 or any(script(char) is not Script.HAN for char in heard.words):
            return False
        entry = self._entries[heard.owner]
        spellings = entry.spellings() if isinstance(entry, TermEntry) else []
        return not any(read_alike(spelling, heard.words) for spelling in spellings)


def _must_be_typed(entry: QueryEntry | TermEntry | CategoryEntry) -> bool:
    return isinstance(entry, TermEntry) and entry.only_typed


def same_language(entry: str | None, shop: str | None) -> bool:
    """Whether an entry of that locale is in the shop's language, or either is of none."""
    return entry is None or shop is None or language(entry) == language(shop)


def language(locale: str | None) -> str | None:
    """``zh`` of ``zh-TW``."""
    return locale.split("-")[0].lower() if locale else None


def locale_factor(entry: str | None, shop: str | None) -> float:
    """What an entry's score is multiplied by in a shop of that language."""
    return 1.0 if same_language(entry, shop) else _OTHER_LANGUAGE


def false_friend(entry: str | None, shop: str | None, spelling: str) -> bool:
    """Chinese and Japanese share characters, not meanings: 手紙 is a letter in Japan, tissue in Taiwan."""
    return not same_language(entry, shop) and all(script(char) is Script.HAN for char in fold(spelling))


def _span(folded: str, words: str) -> range:
    """Where the words stand in the query, which has them."""
    start = f" {folded} ".index(f" {words} ")
    return range(start, start + len(words))


def _as_typed(query: str, folded: str, words: str) -> str:
    """The words with their katakana, which `fold` makes hiragana, one for one."""
    span = _span(folded, words)
    return fold_width(query)[span.start : span.stop]


def _within(span: range, known: Iterable[Occurrence]) -> bool:
    """Whether one known word is all there: a word that is known as it stands is no slip for another."""
    return any(one.start <= span.start and span.stop <= one.start + one.length for one in known)
