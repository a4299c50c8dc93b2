"""Knowledge entries: short facts about queries, and how they are said in a prompt.

Three kinds, told apart by ``kind``:

    query     a past query and the titles of the products that shoppers chose for it, or its category
    term      a brand, jargon word, abbreviation or transliteration, with what it means and other spellings
    category  one category path, said in several languages

Knows nothing of vectors, files or retrieval. The JSONL format is in ``csrm.knowledge.jsonl``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic import ValidationError as PydanticValidationError

from csrm.errors import KnowledgeError
from csrm.knowledge.folding import Script, writing
from csrm.wire import Locale

TERM_LINE_CHARS = 60
QUERY_LINE_CHARS = 90
CATEGORY_LINE_CHARS = 60

_NOT_PRINTED = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")


def _one_line(text: str) -> str:
    """Fold white space and control characters: a line break inside an entry would break the prompt."""
    folded = _NOT_PRINTED.sub(" ", text).strip()
    if not folded:
        raise ValueError("must not be blank")
    if any("\ud800" <= char <= "\udfff" for char in folded):
        raise ValueError("holds half of a surrogate pair, which is no text")
    return folded


Id = Annotated[str, StringConstraints(max_length=200), AfterValidator(_one_line)]
Phrase = Annotated[str, StringConstraints(max_length=200), AfterValidator(_one_line)]
Meaning = Annotated[str, StringConstraints(max_length=500), AfterValidator(_one_line)]
Title = Annotated[str, StringConstraints(max_length=1_000), AfterValidator(_one_line)]
CategoryPath = Annotated[str, StringConstraints(max_length=500), AfterValidator(_one_line)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id
    locale: Locale | None = Field(default=None, description="Language of the entry; null for any.")
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = Field(
        description="Where it comes from, e.g. demo, ubi, taxonomy."
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1_000,
        allow_inf_nan=False,
        description="2.0 counts twice.",
    )
    date: datetime.date | None = None


class QueryEntry(_Entry):
    """A past query with what shoppers chose for it."""

    kind: Literal["query"] = "query"
    query: Phrase
    titles: list[Title] = Field(default_factory=list, max_length=50, description="Of the chosen products.")
    category: CategoryPath | None = None

    @model_validator(mode="after")
    def _says_something(self) -> QueryEntry:
        if not self.titles and self.category is None:
            raise ValueError("titles: a query entry needs a chosen title or a category")
        return self

    def search_texts(self) -> list[str]:
        """What a shopper's query is compared with: the past query."""
        return [self.query]

    def prompt_line(self, locale: str | None = None) -> str:
        """At most 90 characters, e.g. ``"phone case" shoppers chose: Slim case for...; Clear case``."""
        query = shorten(self.query, 36)
        if not self.titles:
            return shorten(f'"{query}" category: {_last_levels(self.category or "", 50)}', QUERY_LINE_CHARS)
        head = f'"{query}" shoppers chose: '
        room = QUERY_LINE_CHARS - len(head)
        first = shorten(self.titles[0], room if len(self.titles) == 1 else max(room // 2 - 2, 24))
        line = head + first
        if len(self.titles) > 1 and (left := QUERY_LINE_CHARS - len(line) - 2) >= 12:
            line += "; " + shorten(self.titles[1], left)
        return line


class TermEntry(_Entry):
    """A word that a shopper may type and a model may not know, with its meaning."""

    kind: Literal["term"] = "term"
    term: Phrase
    meaning: Meaning = Field(description="A gloss in English or in the source market's language.")
    aliases: list[Phrase] = Field(
        default_factory=list, max_length=200, description="Other scripts, misspellings, translations."
    )
    only_typed: bool = Field(
        default=False,
        description="Whether it is found only where it is typed, letter by letter, in its language if it has one: who "
        "asks for a thing does not mean a brand of it, and many a word is nearly some name.",
    )

    def spellings(self) -> list[str]:
        """The term and its aliases: what is looked for, letter by letter, in a query."""
        return list(dict.fromkeys([self.term, *self.aliases]))

    def search_texts(self) -> list[str]:
        """One spelling of each script, with the meaning: a brand alone is close to whatever is spelled like it. None
        where it must be typed.

        Spellings of one script have vectors so close to each other that more of them find nothing more; letter
        by letter all are looked for.
        """
        first: dict[Script, str] = {}
        for spelling in () if self.only_typed else self.spellings():
            first.setdefault(writing(spelling), spelling)
        return [f"{spelling}, {self.meaning}" for spelling in first.values()]

    def prompt_line(self, locale: str | None = None, spelling: str | None = None) -> str:
        """At most 60 characters, e.g. ``에어팟 = AirPods, Apple wireless earbuds``.

        Args:
            locale: not used; a gloss has one language.
            spelling: the alias that the shopper typed: the line then starts with it, so that the model
                sees the word of the query, followed by the term.
        """
        if spelling is None or spelling.casefold() == self.term.casefold():
            return shorten(f"{self.term} = {self.meaning}", TERM_LINE_CHARS)
        if self.term.casefold() in self.meaning.casefold():
            return shorten(f"{spelling} = {self.meaning}", TERM_LINE_CHARS)
        return shorten(f"{spelling} = {self.term}, {self.meaning}", TERM_LINE_CHARS)


class CategoryEntry(_Entry):
    """One category, its path said in each language: levels are parted by `` > ``."""

    kind: Literal["category"] = "category"
    paths: dict[Locale, CategoryPath] = Field(min_length=1, max_length=100)

    def search_texts(self) -> list[str]:
        """For every language the leaf with its parent: the higher levels say little of a query.

        In the order of the language tags: vectors are kept by position, and a file has its own order of keys.
        """
        return list(
            dict.fromkeys(", ".join(reversed(_levels(path)[-2:])) for _, path in sorted(self.paths.items()))
        )

    def prompt_line(self, locale: str | None = None) -> str:
        """At most 60 characters, in the shop's language where there is one: ``category: Phones > Cases``."""
        head = "category: "
        return head + _last_levels(self._path(locale), CATEGORY_LINE_CHARS - len(head))

    def _path(self, locale: str | None) -> str:
        if locale is not None:
            if locale in self.paths:
                return self.paths[locale]
            language = locale.split("-")[0].lower()
            for tag, path in self.paths.items():
                if tag.split("-")[0].lower() == language:
                    return path
        return self.paths.get("en") or next(iter(self.paths.values()))


KnowledgeEntry = Annotated[QueryEntry | TermEntry | CategoryEntry, Field(discriminator="kind")]
"""Any of the three kinds; annotate with it, and make one from JSON with `parse_entry`."""

Kind = Literal["query", "term", "category"]

_ADAPTER: TypeAdapter[QueryEntry | TermEntry | CategoryEntry] = TypeAdapter(KnowledgeEntry)


def entry_faults(error: PydanticValidationError) -> list[tuple[str, str]]:
    """(field, reason) of everything that is wrong with one entry; the field is ``""`` for the whole entry."""
    faults = []
    for detail in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in detail["loc"]]
        if place and place[0] in ("query", "term", "category"):  # the branch of the union, not a field
            place = place[1:]
        reason = detail["msg"].removeprefix("Value error, ")
        if detail["type"].startswith("union_tag"):
            place, reason = ["kind"], "must be one of query, term, category"
        faults.append((".".join(place), reason))
    return faults


def parse_entry(data: Mapping[str, Any]) -> QueryEntry | TermEntry | CategoryEntry:
    """One entry from a JSON object.

    Raises:
        KnowledgeError: the object is no entry; the message names the entry and the field.
    """
    try:
        return validate_entry(data)
    except PydanticValidationError as error:
        field, reason = entry_faults(error)[0]
        raise KnowledgeError(
            f"Knowledge entry {data.get('id')!r}: field {field or '(entry)'}: {reason}; correct the entry."
        ) from error


def validate_entry(data: object) -> QueryEntry | TermEntry | CategoryEntry:
    """As `parse_entry`, but raises pydantic's own ValidationError, which lists every fault.

    Dates are strings here, as in JSON.
    """
    return _ADAPTER.validate_python(data)


def shorten(text: str, max_chars: int) -> str:
    """``text`` in at most ``max_chars`` characters, cut between words where it can be, ending in "…"."""
    if len(text) <= max_chars:
        return text
    cut = text[: max_chars - 1]
    if text[max_chars - 1] != " ":
        space = cut.rfind(" ")
        if space >= max_chars // 2:  # text without spaces (Chinese, Japanese) is cut where it must be
            cut = cut[:space]
    return cut.rstrip(" ,;:-–—/|(") + "…"


def _levels(path: str) -> list[str]:
    return [level.strip() for level in path.split(">") if level.strip()] or [path]


def _last_levels(path: str, max_chars: int) -> str:
    """The path; where it is too long, its last levels, for they say most."""
    levels = _levels(path)
    whole = " > ".join(levels)
    while len(whole) > max_chars and len(levels) > 1:
        levels = levels[1:]
        whole = "… > " + " > ".join(levels)
    return shorten(whole, max_chars)
