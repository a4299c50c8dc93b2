"""What the benchmark scores: the demo shop's own queries and titles, the nearest first."""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import islice

from csrm.benchmark.workload import MOST_PRODUCTS, searches
from demo.shop.products import products
from demo.shop.queries import queries


def test_the_file_is_the_demo_shop() -> None:
    """After a change of the shop: write ``expected`` to the file, as it is written here."""
    expected = {
        locale: {
            "queries": [query.text for query in queries(locale)],
            "titles": [product.titles[locale] for product in products()],
        }
        for locale in ("en", "ko")
    }
    file = files("csrm.benchmark") / "shop.json"
    assert json.loads(file.read_text(encoding="utf-8")) == expected
    assert file.read_text(encoding="utf-8") == json.dumps(expected, ensure_ascii=False, indent=0) + "\n"


def test_searches_are_many_and_their_products_different() -> None:
    found = list(islice(searches(MOST_PRODUCTS), 120))
    assert len({(one.query, one.locale) for one in found}) > 64  # more than an engine remembers prefixes for
    assert {one.locale for one in found} == {"en", "ko"}
    for one in found[:10]:
        assert len(set(one.products)) == MOST_PRODUCTS


def test_they_go_on_without_end_and_start_where_they_are_told() -> None:
    every = list(islice(searches(1), 240))
    assert every[:120] == every[120:]
    assert next(searches(1, first=7)) == every[7]


def test_the_nearest_products_share_words_with_the_query() -> None:
    for search in islice(searches(20), 60):
        words = set(search.query.lower().split())
        near = sum(bool(words & set(title.lower().split())) for title in search.products)
        assert near or search.locale == "ko", search.query
