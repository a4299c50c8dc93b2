"""The text of a product from the fields of its hit."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.product_text import number_of, product_text, values_of, without_fields

FIELDS: dict[str, object] = {
    "brand": ["Acme"],
    "title": ["  USB-C\ncable "],
    "color": ["red", "blue"],
    "length": [2],
    "new": [True],
    "variants": [{"size": ["S"]}, {"size": ["M"], "offer": [{"name": ["sale"]}]}],
    "empty": [],
    "broken": [None, {"a": 1}],
}


def test_values_in_the_profiles_order() -> None:
    names = ["title", "brand", "color", "length", "new", "empty", "broken", "missing"]
    assert product_text(FIELDS, names) == "USB-C cable Acme red blue 2 true"


def test_nested_values() -> None:
    assert values_of(FIELDS, "variants.size") == ["S", "M"]
    assert values_of(FIELDS, "variants.offer.name") == ["sale"]


def test_numbers() -> None:
    assert number_of(FIELDS, "length") == 2.0
    assert number_of({"variants": [{"sales": ["many", 7, 9]}]}, "variants.sales") == 7.0
    for name in ("brand", "new", "empty", "missing"):
        assert number_of(FIELDS, name) == -math.inf


def test_no_text() -> None:
    assert product_text({}, ["title"]) == ""
    assert product_text({"title": ["", "  "]}, ["title"]) == ""


def test_a_long_text_is_cut_to_what_the_wire_takes() -> None:
    assert len(product_text({"title": ["x" * 50_000]}, ["title"])) == 20_000


def test_fields_are_taken_out_with_what_they_leave_empty() -> None:
    fields: dict[str, object] = {
        "title": ["a"],
        "v": [{"s": ["S"], "p": [1]}, {"s": ["M"]}],
        "w": [{"s": ["S"]}],
    }
    without_fields(fields, ["title", "v.s", "w.s", "missing", "v.missing"])
    assert fields == {"v": [{"p": [1]}]}


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "a.b"]), st.none() | st.lists(st.text() | st.floats()) | st.text()
    )
)
def test_any_fields_give_a_text(fields: dict[str, object]) -> None:
    text = product_text(fields, ["a", "b", "a.b", "b.c"])
    assert text == text.strip()


@given(st.text(alphabet=st.sampled_from("ab \t\n\u00a0\u3000\u2028\u200b東é\x1f") | st.characters()))
def test_blanks_become_one_space(text: str) -> None:
    assert product_text({"title": [text]}, ["title"]) == " ".join(text.split())
