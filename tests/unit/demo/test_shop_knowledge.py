"""What the demo shop knows of queries: complete, free of double meanings, and found when it is asked."""

from __future__ import annotations

from collections import defaultdict

from csrm.knowledge import CategoryEntry, QueryEntry, TermEntry
from csrm.knowledge.folding import fold
from demo.shop.jargon import jargon
from demo.shop.knowledge import knowledge_entries
from demo.shop.products import products
from demo.shop.schema import LOCALES, brands, devices, families

ENTRIES = knowledge_entries()
TERMS = [entry for entry in ENTRIES if isinstance(entry, TermEntry)]


def test_ids_are_unique_and_the_same_every_time() -> None:
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES) <= 700
    assert {entry.source for entry in ENTRIES} == {"demo"}
    assert knowledge_entries() == ENTRIES


def test_everything_in_the_shop_is_known() -> None:
    ids = {entry.id for entry in ENTRIES}
    assert {f"brand-{brand}" for brand in brands()} <= ids
    assert {f"device-{device}" for device in devices()} <= ids
    assert {f"category-{family}" for family in families()} <= ids
    assert {f"word-{locale}-{family}" for family in families() for locale in LOCALES} <= ids


def test_categories_are_said_in_every_locale() -> None:
    for entry in ENTRIES:
        if isinstance(entry, CategoryEntry):
            assert set(entry.paths) == set(LOCALES)


def test_no_spelling_means_two_things_in_one_locale() -> None:
    """Brands and devices are spelled in every locale, so they too must differ from every product word."""
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for term in TERMS:
        for locale in LOCALES if term.locale is None else [term.locale]:
            for spelling in term.spellings():
                owners[locale, fold(spelling).replace(" ", "")].add(term.id)
    assert {key: ids for key, ids in owners.items() if len(ids) > 1} == {}


def test_a_word_that_is_also_a_brand_is_first_a_word() -> None:
    by_id = {entry.id: entry for entry in TERMS}
    for brand, means in jargon().common_words.items():
        assert by_id[f"brand-{brand}"].meaning.startswith(means)
        assert by_id[f"brand-{brand}"].prompt_line().startswith(f"{brands()[brand].latin} = {means}, or ")


def test_the_log_has_a_third_of_the_families_and_real_titles_of_them() -> None:
    titles = {(product.family, locale): set() for product in products() for locale in LOCALES}
    for product in products():
        for locale in LOCALES:
            titles[product.family, locale].add(product.titles[locale])
    logged = defaultdict(int)
    for entry in ENTRIES:
        if isinstance(entry, QueryEntry):
            family = entry.id.removeprefix(f"query-{entry.locale}-")
            logged[entry.locale] += 1
            assert len(set(entry.titles)) == 2
            assert set(entry.titles) <= titles[family, entry.locale]
            assert entry.query in families()[family].names[entry.locale]
    assert all(0.2 < logged[locale] / len(families()) < 0.45 for locale in LOCALES)
