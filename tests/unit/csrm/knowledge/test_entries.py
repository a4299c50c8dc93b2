"""Entries: what is accepted, and the lines that a prompt gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.errors import KnowledgeError
from csrm.knowledge import CategoryEntry, QueryEntry, TermEntry, parse_entry
from csrm.knowledge.entries import shorten

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=30)
texts = st.lists(words, min_size=1, max_size=6).map(" ".join)


def term(text: str = "에어팟", meaning: str = "AirPods, Apple wireless earbuds", *aliases: str) -> TermEntry:
    return TermEntry(id="t", source="test", term=text, meaning=meaning, aliases=list(aliases))


def test_a_term_line_is_a_gloss() -> None:
    assert term().prompt_line("ko") == "에어팟 = AirPods, Apple wireless earbuds"


def test_a_term_line_starts_with_what_the_shopper_typed() -> None:
    adidas = term("adidas", "German sportswear brand", "阿迪达斯")
    assert adidas.prompt_line("zh-TW", "阿迪达斯") == "阿迪达斯 = adidas, German sportswear brand"
    assert (
        term("AirPods", "AirPods, Apple earbuds").prompt_line("ko", "에어팟")
        == "에어팟 = AirPods, Apple earbuds"
    )


def test_a_query_line_names_chosen_products_cut_between_words() -> None:
    entry = QueryEntry(
        id="q",
        source="test",
        query="phone case",
        titles=[
            "Slim matte protective case for iPhone 15 Pro Max",
            "Clear case for Galaxy S24 Ultra with stand",
        ],
    )
    assert (
        entry.prompt_line("en")
        == '"phone case" shoppers chose: Slim matte protective case…; Clear case for Galaxy S24 Ultra…'
    )


def test_a_query_line_without_products_names_the_category() -> None:
    entry = QueryEntry(id="q", source="test", query="case", category="Electronics > Phones > Cases")
    assert entry.prompt_line() == '"case" category: Electronics > Phones > Cases'


def test_a_category_line_is_in_the_language_of_the_shop() -> None:
    entry = CategoryEntry(
        id="c",
        source="test",
        paths={"en": "Phones > Cases", "zh-TW": "手機 > 手機殼", "ko": "휴대폰 > 케이스"},
    )
    assert entry.prompt_line("ko") == "category: 휴대폰 > 케이스"
    assert (
        entry.prompt_line("zh-CN") == "category: 手機 > 手機殼"
    )  # the same language, where not the same tag
    assert entry.prompt_line("fr") == entry.prompt_line(None) == "category: Phones > Cases"


def test_a_long_category_path_keeps_its_end() -> None:
    path = "Electronics & Computers > Mobile Phone Accessories > Protective Cases > Wallet Cases"
    line = CategoryEntry(id="c", source="test", paths={"en": path}).prompt_line("en")
    assert line == "category: … > Protective Cases > Wallet Cases"


@given(texts, texts, st.none() | texts)
def test_term_lines_are_short_and_one_line(text: str, meaning: str, typed: str | None) -> None:
    line = term(text[:200], meaning[:500]).prompt_line("ko", typed)
    assert len(line) <= 60
    assert len(line.splitlines()) == 1


@given(texts, st.lists(texts, max_size=4), texts)
def test_query_and_category_lines_are_short(text: str, titles: list[str], path: str) -> None:
    entry = QueryEntry(id="q", source="test", query=text[:200], titles=titles, category=path[:500])
    assert len(entry.prompt_line("en")) <= 90
    assert len(entry.model_copy(update={"titles": []}).prompt_line("en")) <= 90
    assert len(CategoryEntry(id="c", source="test", paths={"en": path[:500]}).prompt_line("en")) <= 60


@given(texts, st.integers(2, 80))
def test_shortened_text_fits_and_is_a_beginning(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_white_space_and_control_characters_cannot_break_a_prompt() -> None:
    entry = term("AJ1", "Air\nJordan\x00 1\u2028 sneaker")
    assert entry.prompt_line() == "AJ1 = Air Jordan 1 sneaker"


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"kind": "brand"}, "kind", "must be one of query, term, category"),
        ({"term": " "}, "term", "must not be blank"),
        ({"term": "x" * 100_000}, "term", "at most 200 characters"),
        ({"locale": "korean!"}, "locale", "pattern"),
        ({"weight": 0}, "weight", "greater than 0"),
        ({"weight": float("nan")}, "weight", "finite number"),
        ({"date": "yesterday"}, "date", "date"),
        ({"note": "?"}, "note", "not permitted"),
        ({"aliases": ["ok", ""]}, "aliases.1", "must not be blank"),
        ({"meaning": "\ud83d"}, "meaning", "valid"),
    ],
)
def test_a_bad_entry_is_refused_by_field(change: dict[str, object], field: str, reason: str) -> None:
    good = {"kind": "term", "id": "t", "source": "test", "term": "AJ1", "meaning": "Air Jordan 1"}
    assert parse_entry(good).id == "t"
    with pytest.raises(KnowledgeError, match=f"field {field}: .*{reason}"):
        parse_entry(good | change)


def test_a_query_entry_says_something() -> None:
    with pytest.raises(KnowledgeError, match="needs a chosen title or a category"):
        parse_entry({"kind": "query", "id": "q", "source": "test", "query": "case"})
