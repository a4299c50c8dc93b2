"""The shop's products: enough of them, the same in every locale, and every fact of one is read in its title."""

from __future__ import annotations

import re
import unicodedata

import pytest

from demo.shop import LOCALES, ShopProduct, documents, products
from demo.shop.schema import brands, devices, families, held_out_families, words
from demo.shop.titles import title
from demo.shop.wording import value_forms


def plain(text: str) -> str:
    """Without accents, which some sellers leave out, and without case."""
    spread = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in spread if not unicodedata.combining(char))


def test_there_are_over_a_thousand_each_with_its_own_title() -> None:
    shelf = products()
    assert len(shelf) >= 1_000
    assert len({product.id for product in shelf}) == len(shelf)
    for locale in LOCALES:
        assert len({product.titles[locale] for product in shelf}) == len(shelf)


@pytest.mark.parametrize("locale", LOCALES)
def test_a_title_says_every_attribute_that_a_judgment_looks_at(locale: str) -> None:
    missing = []
    for product in products():
        text = plain(product.titles[locale])
        said = {axis: value_forms(axis, value, locale)[0] for axis, value in product.attributes.items()}
        said |= {name: words()["features"][name][locale][0] for name in product.features}
        said |= {name: devices()[name].name[locale][0] for name in product.fits}
        if product.device:
            said["device"] = devices()[product.device].name[locale][0]
        missing += [(product.id, name, word) for name, word in said.items() if plain(word) not in text]
    assert not missing


@pytest.mark.parametrize("locale", LOCALES)
def test_a_title_says_the_brand_in_one_of_its_spellings(locale: str) -> None:
    for product in products():
        brand = brands()[product.brand]
        text = product.titles[locale].casefold()
        assert brand.latin.casefold() in text or brand.local(locale).casefold() in text, product.titles[
            locale
        ]


@pytest.mark.parametrize("locale", LOCALES)
def test_a_title_has_no_hole(locale: str) -> None:
    """A slot that stays empty takes its brackets and separators with it."""
    holes = ("{", "}", "()", "( ", " )", "[]", "【】", "  ", ",,", ", ,", "(,", "/)", "for ,", "with ,")
    for product in products():
        text = product.titles[locale]
        assert not any(hole in text for hole in holes), text
        assert text == text.strip(" ,|/-"), text


def test_titles_of_a_locale_are_in_its_script() -> None:
    scripts = {"ko": "[가-힣]", "ja": "[ぁ-ヿ一-鿿]", "zh-TW": "[一-鿿]"}
    for locale, letters in scripts.items():
        assert all(re.search(letters, product.titles[locale]) for product in products())


def test_the_same_facts_give_the_same_title() -> None:
    for product in products()[::97]:
        fresh = ShopProduct.model_validate(product.model_dump())
        assert {locale: title(fresh, locale) for locale in LOCALES} == product.titles  # type: ignore[arg-type]


def test_prices_fit_the_family_and_the_currency() -> None:
    for product in products():
        low, high = families()[product.family].price
        assert low <= product.prices["en"] <= high + 1
        assert 1_000 <= product.prices["ko"] / product.prices["en"] <= 1_700


@pytest.mark.parametrize("locale", LOCALES)
def test_documents_are_what_the_template_maps(locale: str) -> None:
    rows = documents(locale)
    assert [row["id"] for row in rows] == [product.id for product in products()]
    assert {frozenset(row) for row in rows} == {frozenset({"id", "title", "brand", "category", "price"})}


def test_a_third_of_the_families_is_held_out_with_their_accessories() -> None:
    held_out = held_out_families()
    assert 0.3 <= len(held_out) / len(families()) <= 0.4
    for family in families().values():
        for host in family.accessory_of:
            if families()[host].group == family.group:
                assert (family.id in held_out) == (host in held_out)
