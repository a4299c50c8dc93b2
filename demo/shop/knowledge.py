"""What the shop knows about queries, as knowledge entries: brands, devices, product words, categories, a log.

Everything follows by rule from the shop's data; no query of the demo's measurement is read. Knows products and
entries; knows neither vectors nor retrieval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from csrm.knowledge import CategoryEntry, QueryEntry, TermEntry
from demo.shop import draw
from demo.shop.jargon import jargon
from demo.shop.products import ShopProduct, products
from demo.shop.schema import LOCALES, Family, brands, devices, families

SOURCE = "demo"

_LOGGED = 1 / 3
"""Share of the families that a locale's search log has a query of."""


def knowledge_entries(
    known: Collection[str] | None = None,
) -> list[QueryEntry | TermEntry | CategoryEntry]:
    """All entries of the demo shop in a stable order; ids are unique and stay the same.

    Args:
        known: families to speak of, as if the shop sold no others; all where null.
    """
    shelf = [family for name, family in families().items() if known is None or name in known]
    return [
        *_brand_terms(shelf),
        *_device_terms(shelf),
        *_product_words(shelf),
        *_categories(shelf),
        *_past_queries(shelf),
    ]


def _brand_terms(shelf: Sequence[Family]) -> Iterator[TermEntry]:
    for name, brand in brands().items():
        makes = _makes(name, shelf)
        if not makes:
            continue
        made = f"{'maker' if brand.real else 'brand'} of {', '.join(makes[:4])}"
        if means := jargon().common_words.get(name):
            made = f"{means}, or the {made}"
        yield TermEntry(
            id=f"brand-{name}",
            source=SOURCE,
            term=brand.latin,
            meaning=made,
            aliases=_others(brand.latin, [brand.ko, brand.ja, brand.zh, *brand.typos]),
        )


def _device_terms(shelf: Sequence[Family]) -> Iterator[TermEntry]:
    sold = {device: _english(family) for family in shelf for device in family.devices}
    for name in _devices_of(shelf):
        device = devices()[name]
        brand, english = brands()[device.brand], device.name["en"][0]
        forms = [form.removesuffix(" 5G") for locale in LOCALES for form in device.name[locale]]
        if english.isalpha():  # a word like any other ("uno"): only the brand before it makes it a device
            forms = [f"{brand.local(locale)} {form}" for locale in LOCALES for form in device.name[locale]]
        term = f"{brand.latin} {english}" if device.with_brand else english
        yield TermEntry(
            id=f"device-{name}",
            source=SOURCE,
            term=term,
            meaning=f"{sold.get(name) or jargon().devices[name]} of {brand.latin}",
            aliases=_others(term, forms),
        )


def _product_words(shelf: Sequence[Family]) -> Iterator[TermEntry]:
    for family in shelf:
        words = jargon().families[family.id]
        for locale in LOCALES:
            general = jargon().ambiguous.said(locale)
            names = [name for name in family.names[locale] if name not in general]
            spellings = [*names, *words.said(locale), *family.typos[locale]]
            english = _english(family)
            yield TermEntry(
                id=f"word-{locale}-{family.id}",
                locale=locale,
                source=SOURCE,
                term=spellings[0],
                meaning=words.gloss if spellings[0] == english else f"{english}, {words.gloss}",
                aliases=_others(spellings[0], spellings),
            )


def _categories(shelf: Sequence[Family]) -> Iterator[CategoryEntry]:
    for family in shelf:
        paths = {locale: f"{family.path[locale][0]} > {family.category[locale][0]}" for locale in LOCALES}
        yield CategoryEntry(id=f"category-{family.id}", source=SOURCE, paths=paths)


def _past_queries(shelf: Sequence[Family]) -> Iterator[QueryEntry]:
    """For a third of the families in each locale a name of the thing, and two products of different makers."""
    for locale in LOCALES:
        for family in shelf:
            if not draw.chance(_LOGGED, "search log", locale, family.id):
                continue
            first, second = _chosen(family.id, locale)
            yield QueryEntry(
                id=f"query-{locale}-{family.id}",
                locale=locale,
                source=SOURCE,
                query=draw.pick(family.names[locale], "search log", locale, family.id),
                titles=[first.titles[locale], second.titles[locale]],
                category=family.category[locale][0],
            )


def _chosen(family: str, locale: str) -> tuple[ShopProduct, ShopProduct]:
    offered = [product for product in products() if product.family == family]
    order = draw.shuffled(range(len(offered)), "chosen", locale, family)
    first = offered[order[0]]
    return first, next(offered[place] for place in order if offered[place].brand != first.brand)


def _devices_of(shelf: Sequence[Family]) -> list[str]:
    """Devices that are sold or that something sold fits, in the order of the data."""
    named = {device for family in shelf for device in family.devices}
    named |= {device for family in shelf for device in family.fitted}
    return [name for name in devices() if name in named]


def _makes(brand: str, shelf: Sequence[Family]) -> list[str]:
    """What a brand makes, devices first; of a real brand, which the shop does not sell, its devices by name."""
    own = {name for name in _devices_of(shelf) if devices()[name].brand == brand}
    if brands()[brand].real:
        return [devices()[name].name["en"][0] for name in devices() if name in own]
    as_device = [family for family in shelf if own & set(family.devices)]
    as_device.sort(key=lambda family: -len(own & set(family.devices)))
    as_brand = [family for family in shelf if brand in family.brands]
    return list(dict.fromkeys(family.category["en"][0].lower() for family in [*as_device, *as_brand]))


def _english(family: Family) -> str:
    return family.names["en"][0]


def _others(term: str, spellings: Iterable[str]) -> list[str]:
    """Each once, without the term."""
    return [spelling for spelling in dict.fromkeys(spellings) if spelling != term]
