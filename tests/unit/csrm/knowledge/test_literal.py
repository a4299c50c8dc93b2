"""Spellings that stand in a query: boundaries by script, longest first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.folding import fold
from csrm.knowledge.literal import SpellingFinder


def found(spelling: str, query: str) -> bool:
    return bool(SpellingFinder([(0, spelling)]).find(query))


@pytest.mark.parametrize(
    ("spelling", "query"),
    [
        ("case", "phone case"),
        ("iPhone", "ｉｐｈｏｎｅ15 pro"),  # width, case, and a digit after it
        ("Nike", "나이키nike운동화"),
        ("에어팟", "에어팟케이스"),
        ("케이스", "아이폰케이스"),
        ("버즈", "버즈2 프로"),
        ("手机壳", "苹果手机壳"),
        ("ナイキ", "ナイキスニーカー"),
        ("ナイキ", "ないき"),
        ("スマホ", "ｽﾏﾎケース"),
        ("パン", "食パン"),
        ("air jordan 1", "Air  Jordan 1 low"),
        ("U盘", "64g U盘"),
        ("niño", "ropa nino"),
        ("air fryer", "airfryer paper"),
        ("스마트폰", "스마트 폰 케이스"),
        ("スマホケース", "スマホ ケース"),
    ],
)
def test_a_word_is_found(spelling: str, query: str) -> None:
    assert found(spelling, query)


@pytest.mark.parametrize(
    ("spelling", "query"),
    [
        ("case", "showcase"),
        ("case", "cases"),
        ("4k", "64k"),
        ("AJ1", "aj11"),
        ("U盘", "KU盘"),
        ("パン", "パンツ"),
        ("ライト", "フライト"),
        ("커버", "디스커버리"),
        ("배", "배터리"),
        ("水", "香水"),
        ("air jordan 1", "jordan"),
        ("パン", "ジャパ ン"),
        ("일렉기타", "일렉 기타줄"),  # the second word goes on
        ("디카", "디카페인 원두"),
        ("x", ""),
    ],
)
def test_a_piece_of_another_word_is_not_found(spelling: str, query: str) -> None:
    assert not found(spelling, query)


def test_the_longest_spelling_hides_what_it_covers() -> None:
    finder = SpellingFinder([(0, "air jordan"), (1, "air jordan 1"), (2, "jordan"), (3, "low")])
    assert [(one.owner, one.start, one.length) for one in finder.find("Air Jordan 1 Low")] == [
        (1, 0, 12),
        (3, 13, 3),
    ]


@pytest.mark.parametrize(
    ("query", "head_first", "expected"),
    [
        ("エレキギター弦", False, ["ギター弦"]),
        ("電吉他弦", False, ["吉他弦"]),
        ("funda portátil gaming", True, ["funda portátil"]),
        ("funda portátil gaming", False, ["portátil gaming"]),
        ("디카배터리", False, ["배터리", "디카"]),  # two syllables that run on into a word that is known
        ("디카페인", False, []),
        ("디카 s", False, ["디카"]),
    ],
)
def test_what_overlaps_or_runs_on_is_read_by_its_head(
    query: str, head_first: bool, expected: list[str]
) -> None:
    known = [
        "エレキギター",
        "ギター弦",
        "電吉他",
        "吉他弦",
        "funda portátil",
        "portátil gaming",
        "디카",
        "배터리",
    ]
    found = SpellingFinder(enumerate(known)).find(query, head_first=head_first)
    assert [one.spelling for one in found] == expected


def test_owners_of_one_spelling_are_all_found_once_each() -> None:
    finder = SpellingFinder([(0, "apple"), (1, "Apple"), (0, "ＡＰＰＬＥ")])
    assert [(one.owner, one.spelling) for one in finder.find("apple")] == [(0, "apple"), (1, "Apple")]


@given(
    st.lists(st.text("ab 한カ漢1", min_size=1, max_size=4), max_size=8), st.text("ab 한カ漢1", max_size=20)
)
def test_occurrences_are_in_the_query_and_do_not_overlap(spellings: list[str], query: str) -> None:
    occurrences = SpellingFinder(enumerate(spellings)).find(query)
    text = fold(query)
    places: dict[int, int] = {}
    for one in occurrences:
        assert text[one.start : one.start + one.length].replace(" ", "") == fold(one.spelling).replace(
            " ", ""
        )
        places[one.start] = one.length
    for start, length in places.items():
        assert not any(start < other < start + length for other in places)


@given(st.text(min_size=1, max_size=12))
def test_a_spelling_is_found_in_itself(spelling: str) -> None:
    assert found(spelling, spelling) == bool(fold(spelling))
