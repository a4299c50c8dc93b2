"""How spellings sound: one name in several scripts is one sound, other words are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.folding import fold
from csrm.knowledge.sounds import Sound, SoundFinder, sound

WORDS = ["Strivo", "Caffora", "무선 마우스", "手機殼", "Norrika", "マイク"]
FINDER = SoundFinder(enumerate(WORDS))


def heard(query: str) -> dict[str, str]:
    return {WORDS[found.owner]: found.words for found in FINDER.find(fold(query))}


@pytest.mark.parametrize(
    "spellings",
    [
        ("Lumera", "루메라", "ルメラ"),
        ("Zentari", "젠타리", "ゼンタリ", "森塔利"),
        ("Strivo", "스트리보", "ストリーボ"),
        ("Caffora", "카포라", "カフォーラ"),
        ("手机壳", "手機殼"),
        ("헤드폰", "해드폰"),
        ("マウス", "마우스"),
        ("필름", "フィルム"),
        ("キャンプ", "캠프", "camp"),
    ],
)
def test_one_name_in_several_scripts_has_one_frame(spellings: tuple[str, ...]) -> None:
    assert len({found.frame for spelling in spellings if (found := sound(spelling))}) == 1
    assert all(sound(spelling) for spelling in spellings)


def test_what_is_left_of_a_name() -> None:
    assert sound("スニーカ") == sound("스니카") == Sound("snk", "snika")
    assert sound("스트리보") == sound("Strivo") == Sound("strp", "stripo")


@pytest.mark.parametrize("text", ["", "?!", "aj1", "LED 2", "미", "яблоко", "😀", "e", "\ud83d"])
def test_what_has_no_sound_or_too_short_a_one(text: str) -> None:
    assert sound(text) is None


@given(st.text(max_size=30))
def test_any_text_is_heard_or_not(text: str) -> None:
    if (found := sound(text)) is not None:
        assert len(found.frame) >= 2
        assert not set(found.frame) & set("aeiou lbvmgcdz")


def test_words_of_a_query_are_found_by_their_sound() -> None:
    assert heard("스트리보 운동화") == {"Strivo": "스트리보"}
    assert heard("手机壳") == {"手機殼": "手机壳"}
    assert heard("무선 마우쓰 추천") == {"무선 마우스": "무선 마우쓰"}
    assert heard("마이크") == {"マイク": "마이크"}


def test_of_one_frame_the_vowels_decide() -> None:
    assert sound("Norrika").frame == sound("Moorako").frame  # type: ignore[union-attr]
    assert heard("Moreke") == {}
    assert heard("Norika") == {"Norrika": "norika"}


def test_the_likeness_is_that_of_the_best_spelling() -> None:
    finder = SoundFinder([(7, "Solenne"), (7, "솔렌느")])
    (found,) = finder.find("ソレンヌ")
    assert (found.owner, found.likeness) == (7, 1.0)
    assert finder.find("") == []
