"""Folding of spelling variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.folding import Script, fold, fold_width, script, to_hiragana, writing


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ＡＰＰＬＥ　ｱｲﾌｫﾝ", "apple あいふぉん"),
        ("  Air\tJordan\n1 ", "air jordan 1"),
        ("Cámara Niño", "camara nino"),
        ("ガラスフィルム", "がらすふぃるむ"),  # the voicing mark is no accent
        ("에어팟", "에어팟"),
        ("STRASSE Straße", "strasse strasse"),
        ("①㎏", "1kg"),
    ],
)
def test_variants_fold_to_one(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=40))
def test_kana_folds_one_to_one(text: str) -> None:
    assert len(to_hiragana(fold_width(text))) == len(fold_width(text))


def test_scripts() -> None:
    assert [script(char) for char in "aЖ5한カー漢 -々"] == [
        Script.LETTER, Script.LETTER, Script.DIGIT, Script.HANGUL, Script.KANA, Script.KANA, Script.HAN,
        Script.GAP, Script.GAP, Script.HAN,
    ]  # fmt: skip
    assert [writing(text) for text in ("iphone ケース", "三星 폰", "iphone 殼", "iphone 15", "")] == [
        Script.KANA, Script.HANGUL, Script.HAN, Script.LETTER, Script.LETTER,
    ]  # fmt: skip
