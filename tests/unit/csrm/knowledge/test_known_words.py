"""Known words in a query: whose they are, what is a slip and what is not, and whether they are all of it."""

from __future__ import annotations

import pytest

from csrm.knowledge import CategoryEntry, QueryEntry, TermEntry
from csrm.knowledge.known_words import KnownWords


def term(id: str, locale: str | None, *spellings: str, only_typed: bool = False) -> TermEntry:
    return TermEntry(
        id=id,
        locale=locale,
        source="t",
        term=spellings[0],
        meaning="m",
        aliases=[*spellings[1:]],
        only_typed=only_typed,
    )


ENTRIES = [
    term("mint", None, "Mint", "薄荷"),
    term("mouse-en", "en", "mouse"),
    term("mouse-es", "es", "mouse", "ratón"),
    term("helmet", "en", "bicycle helmet"),
    term("bicycle", "en", "bicycle", "bycicle"),
    term("litter", "ko", "고양이 모래"),
    term("box", "ko", "고양이 모래통"),
    term("socks", "es", "medias"),
    term("letter", "ja", "手紙"),
    QueryEntry(id="asked", locale="en", source="t", query="Mint mouse", titles=["x"]),
    CategoryEntry(id="category", source="t", paths={"en": "mouse"}),
]
WORDS = KnownWords(ENTRIES)


def exact(query: str, locale: str | None) -> list[str]:
    return [ENTRIES[number].id for number in WORDS.find(query, locale).exact]


def slips(query: str, locale: str | None) -> dict[str, str]:
    return {ENTRIES[number].id: words for number, words in WORDS.find(query, locale).slips.items()}


def test_of_one_spelling_the_shops_language_counts() -> None:
    assert exact("mouse mint", "en") == ["mouse-en", "mint"]
    assert exact("mouse mint", "es") == ["mouse-es", "mint"]


def test_where_the_shops_language_has_none_another_does() -> None:
    assert set(exact("mouse", "ko")) == {"mouse-en", "mouse-es"}
    assert exact("ratón", "en") == ["mouse-es"]
    assert exact("手紙", "zh-TW") == []  # but not among those that share characters


def test_a_past_query_of_the_same_text_is_found_first() -> None:
    assert exact("mint  MOUSE", "en")[0] == "asked"
    assert "asked" not in exact("mint mouse pad", "en")


def test_a_slip_of_the_shops_language_is_found_with_its_words() -> None:
    assert slips("bicycel helmet kids", "en") == {"helmet": "bicycel helmet"}
    assert slips("bycicle helmet", "en") == {"helmet": "bycicle helmet"}  # though one word of it is known


def test_a_known_word_within_a_longer_misspelled_one_is_not_meant() -> None:
    assert exact("bycicle helmet mint", "en") == ["mint"]
    assert exact("bycicle mint", "en") == ["bicycle", "mint"]


def test_a_known_word_is_no_slip_of_another() -> None:
    assert exact("고양이 모래", "ko") == ["litter"]
    assert slips("고양이 모래", "ko") == {}


def test_a_word_is_no_slip_of_another_languages() -> None:
    assert slips("media player", "en") == {}
    assert slips("media deportiva", "es") == {"socks": "media"}


@pytest.mark.parametrize(
    ("query", "whole"),
    [
        ("mint mouse", True),
        ("Mint-mouse!", True),
        ("薄荷", True),
        ("bycicle helmet", True),
        ("mint mouse 2", False),
        ("for mint", False),
        ("?!", False),
        ("", False),
    ],
)
def test_whether_known_words_are_all_of_the_query(query: str, whole: bool) -> None:
    assert WORDS.find(query, "en").whole == whole


def test_words_that_sound_like_a_term_are_meant_where_that_can_be_believed() -> None:
    asked: list[tuple[str, float]] = []

    def believable(number: int, likeness: float) -> bool:
        asked.append((ENTRIES[number].id, likeness))
        return ENTRIES[number].id == "mint"

    found = WORDS.find("민트 마우스", "ko", believable)
    assert {ENTRIES[number].id: words for number, words in found.slips.items()} == {"mint": "민트"}
    assert {id for id, _ in asked} >= {"mint"}
    assert all(0.7 <= likeness <= 1 for _, likeness in asked)
    assert WORDS.find("민트 마우스", "ko", lambda number, likeness: False).slips == {}


def test_a_known_word_is_not_heard_as_another() -> None:
    assert slips("고양이 모래", "ko") == slips("手紙", "ja") == {}


def test_what_must_be_typed_is_found_letter_by_letter_in_its_language() -> None:
    entries = [
        term("brand", None, "Tefal", "테팔", only_typed=True),
        term("pan", "es", "sartén", only_typed=True),
        term("curtain", "es", "cortina"),
    ]
    words = KnownWords(entries)

    def found(query: str, locale: str) -> list[str]:
        both = words.find(query, locale)
        return [entries[number].id for number in (*both.exact, *both.slips)]

    assert found("TEFAL sarten", "es") == ["pan", "brand"]
    assert found("테팔 프라이팬", "ko") == ["brand"]
    assert found("tefel sartem cortyna", "es") == ["curtain"]
    assert found("tefal sarten", "en") == ["brand"]
    assert found("テファール", "ja") == []  # it only sounds like it


def test_a_word_that_many_people_write_is_no_slip() -> None:
    entries = [term("tent", "es", "carpa"), term("blocks", None, "Sen Sino")]
    careless, careful = KnownWords(entries), KnownWords(entries, {"capa", "sin"}.__contains__)
    assert careless.find("top capa", "es").slips == {0: "capa"}
    assert careful.find("top capa", "es").slips == {}
    assert careful.find("top carpaa", "es").slips == {0: "carpaa"}


def test_a_chinese_word_is_not_taken_for_one_of_the_same_sound() -> None:
    entries = [
        term("mouse", "ja", "マウス"),
        term("sleeping-bag", "zh-TW", "睡袋"),
        term("computer", "zh-TW", "電腦"),
    ]
    words = KnownWords(entries)
    assert words.find("馬術 女靴", "zh-TW").slips == {}
    assert words.find("紙袋", "zh-TW").slips == {}
    assert words.find("电脑 包", "zh-TW").slips == {2: "电脑"}
