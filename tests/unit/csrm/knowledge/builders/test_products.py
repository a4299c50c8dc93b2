"""Counts of a product index: which brands, attributes and categories make an entry, and what it says."""

from __future__ import annotations

from csrm.knowledge.builders.products import Counts, attribute_terms, brand_terms, categories


def test_a_brand_is_said_by_its_categories() -> None:
    counts = Counts(
        "Lumera", {"A > Tablets": 2, "A > Phones": 9, "C > Caps": 1, "B > Cases": 1, "D > Drums": 1}
    )
    (entry,) = brand_terms([counts, Counts("Rare", {"A": 2}), Counts("x" * 300, {"A": 9})])
    assert entry.prompt_line() == "Lumera = brand of Phones, Tablets, Cases, Caps"


def test_an_attribute_of_one_category_is_said_and_one_of_many_is_not() -> None:
    magsafe = Counts("MagSafe", {"Phones > Cases": 8, "Phones > Chargers": 2})
    black = Counts("Black", {"Phones > Cases": 60, "Shoes": 40})
    entries = attribute_terms([magsafe, black, Counts("Rare", {"Shoes": 4})], locale="en")
    assert [(entry.term, entry.meaning, entry.locale) for entry in entries] == [
        ("MagSafe", "said of Cases", "en")
    ]


def test_a_category_needs_a_few_products() -> None:
    entries = categories({"Phones > Cases": 3, "Odd": 2, " ": 9}, locale="en")
    assert [entry.paths for entry in entries] == [{"en": "Phones > Cases"}]


def test_ids_stay_when_counts_change() -> None:
    before, after = (brand_terms([Counts("Lumera", {"A": n, "B": 5})])[0] for n in (3, 9))
    assert before.id == after.id
    assert before != after
