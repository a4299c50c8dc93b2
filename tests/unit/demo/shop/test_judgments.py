"""Each written rule on products made for it, and grades given by hand to what lexical search returns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from demo.shop import ShopProduct, judge, products, queries
from demo.shop.intents import Intent
from demo.shop.judgments import grade

SPOT_CHECKS = Path(__file__).parent / "spot_checks.jsonl"


def product(family: str, brand: str = "halden", **fields: object) -> ShopProduct:
    given = {"attributes": {}, "titles": {}, "prices": {}, **fields}
    return ShopProduct.model_validate({"id": "x", "family": family, "brand": brand, **given})


NOVA_CASE = Intent(families=("phone_case",), fits=("nova12",))
NOVA_PHONE = Intent(families=("smartphone",), fits=("nova12",))
LUMERA_PHONE = Intent(families=("smartphone",), brands=("lumera",))
CAPSULE_MACHINE = Intent(families=("coffee_machine",), require={"type": ("capsule",)})
ACOUSTIC = Intent(families=("guitar",), require={"type": ("acoustic",)})
GRAIN_FREE = Intent(families=("dog_food",), features=("grain_free",), never={"flavor": ("beef",)})
LIGHT_BAG = Intent(families=("sleeping_bag",), at_most={"size": 1})


@pytest.mark.parametrize(
    ("rule", "intent", "offered", "expected"),
    [
        ("1a", NOVA_CASE, product("phone_case", fits=["z5"]), "I"),
        ("1a", NOVA_CASE, product("phone_case", fits=["nova11", "nova12"]), "E"),
        ("1b", GRAIN_FREE, product("dog_food", attributes={"flavor": "beef"}, features=["grain_free"]), "I"),
        ("1c", GRAIN_FREE, product("dog_food", attributes={"flavor": "salmon"}), "S"),
        ("1c", LUMERA_PHONE, product("smartphone", "orbix", device="z5"), "S"),
        ("1c", NOVA_PHONE, product("smartphone", "lumera", device="nova11"), "S"),
        ("1c", LIGHT_BAG, product("sleeping_bag", attributes={"size": "1.4 kg"}), "S"),
        ("1d", LIGHT_BAG, product("sleeping_bag", attributes={"size": "0.9 kg"}), "E"),
        ("1d", LUMERA_PHONE, product("smartphone", "lumera", device="nova11"), "E"),
        ("2", Intent(families=("charger",)), product("power_bank", "voltio"), "S"),
        ("2", Intent(families=("earbuds",), also=("headphones",)), product("headphones"), "S"),
        ("3", Intent(families=("smartphone",)), product("phone_case", fits=["z5"]), "C"),
        ("3", Intent(families=("phone_case",)), product("smartphone", "orbix", device="z5"), "C"),
        ("3a", LUMERA_PHONE, product("phone_case", fits=["nova12"]), "C"),
        ("3a", LUMERA_PHONE, product("phone_case", fits=["z5"]), "I"),
        ("3a", NOVA_PHONE, product("charger"), "C"),
        ("3b", CAPSULE_MACHINE, product("coffee_capsules", "kapsa", fits=["kapsauno"]), "C"),
        ("3b", CAPSULE_MACHINE, product("coffee_beans", "miel"), "I"),
        ("3c", ACOUSTIC, product("guitar_strings", attributes={"type": "acoustic"}), "C"),
        ("3c", ACOUSTIC, product("guitar_strings", attributes={"type": "electric"}), "I"),
        ("4", Intent(families=("guitar",)), product("t_shirt", "panda"), "I"),
        ("4", Intent(families=("cat_food",), brands=("miel",)), product("dog_food", "miel"), "I"),
    ],
)
def test_rule(rule: str, intent: Intent, offered: ShopProduct, expected: str) -> None:
    assert grade(intent, offered) == expected, rule


def test_the_rules_agree_with_grades_given_by_hand() -> None:
    """Every query has products that a reader of query and title graded without knowing the rules."""
    shelf = {one.id: one for one in products()}
    asked = {
        (query.id, query.locale): query
        for locale in ("en", "es", "ko", "ja", "zh-TW")
        for query in queries(locale)
    }
    rows = [json.loads(line) for line in SPOT_CHECKS.read_text(encoding="utf-8").splitlines()]
    assert {row["query"] for row in rows} == {query.id for query in queries("en")}
    ruled = [judge(asked[row["query"], row["locale"]], shelf[row["product"]]) for row in rows]
    given = [row["grade"] for row in rows]
    confusion = Counter(zip(given, ruled, strict=True))
    same = sum(count for (one, other), count in confusion.items() if one == other)
    same_side = sum(count for (one, other), count in confusion.items() if (one in "ES") == (other in "ES"))
    assert same / len(rows) > 0.9, confusion
    assert same_side / len(rows) > 0.95, confusion
