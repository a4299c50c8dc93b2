"""The shop's queries: enough in each locale, of every kind, each with an answer in the shop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import yaml

from demo.shop import LOCALES, judge, products, queries
from demo.shop.errors import ShopDataError
from demo.shop.queries import Kind, read_queries


@pytest.mark.parametrize("locale", LOCALES)
def test_there_are_enough_of_every_kind(locale: str) -> None:
    asked = queries(locale)
    assert len(asked) >= 40
    assert len({query.text.casefold() for query in asked}) == len(asked)
    assert set(Counter(query.kind for query in asked)) == set(get_args(Kind))
    assert 1 / 4 <= sum(query.held_out for query in asked) / len(asked) <= 1 / 2


def test_locales_ask_the_same_in_their_own_words() -> None:
    by_locale = {locale: queries(locale) for locale in LOCALES}
    for same in zip(*by_locale.values(), strict=True):
        assert len({query.id for query in same}) == 1
        assert len({query.intent.model_dump_json() for query in same}) == 1


def test_every_query_has_an_exact_answer_and_many_wrong_ones() -> None:
    for query in queries("en"):
        grades = Counter(judge(query, product) for product in products())
        assert grades["E"] >= 1, query.id
        assert grades["C"] + grades["I"] > 900, query.id


def test_an_unknown_locale_is_no_locale() -> None:
    with pytest.raises(KeyError):
        queries("fr")


@pytest.mark.parametrize(
    ("intent", "named"),
    [
        ({"families": ["smartfone"]}, "smartfone"),
        ({"families": ["mouse"], "brands": ["panda"]}, "panda"),
        ({"families": ["phone_case"], "fits": ["m50"]}, "m50"),
        ({"families": ["charger"], "require": {"size": ["66 w"]}}, "size 66 w"),
        ({"families": ["charger"], "features": ["heated"]}, "heated"),
        ({"families": ["tent"], "at_most": {"weight": 3}}, "weight"),
    ],
)
def test_what_no_product_has_is_named(tmp_path: Path, intent: dict[str, object], named: str) -> None:
    file = tmp_path / "queries.yaml"
    row = {"id": "one", "kind": "accessory", "text": ["a", "b", "c", "d", "e"], "intent": intent}
    file.write_text(yaml.safe_dump([row]), encoding="utf-8")
    with pytest.raises(ShopDataError, match=f"one: no product has .*{named}"):
        read_queries(file)
