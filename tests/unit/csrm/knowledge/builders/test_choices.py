"""Clicks and purchases: what counts, how much, and that no client is in what comes out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csrm.knowledge.builders.choices import (
    Choice,
    ChoiceRules,
    Interaction,
    Product,
    choices,
    from_choices,
    weight,
)
from csrm.knowledge.jsonl import dump_entries

RULES = ChoiceRules()


def click(query: str, client: str, product: str, position: int | None = 1) -> Interaction:
    return Interaction(query, client, product, "click", position)


def asked(query: str, clients: int) -> dict[str, list[str]]:
    return {query: [f"client-{n}" for n in range(clients)]}


def clicks(query: str, product: str, clients: int, position: int = 1) -> list[Interaction]:
    return [click(query, f"client-{n}", product, position) for n in range(clients)]


def test_a_click_far_down_and_a_purchase_say_more() -> None:
    assert [weight(click("q", "c", "p", position), RULES) for position in (None, 0, 1, 4, 10, 90)] == [
        1, 1, 1, 4, 10, 10,
    ]  # fmt: skip
    assert weight(Interaction("q", "c", "p", "purchase", 9), RULES) == RULES.purchase_weight
    assert weight(click("q", "c", "p", 9), ChoiceRules(position_bias=0)) == 1


def test_products_come_in_the_order_of_their_weight() -> None:
    seen = [*clicks("tv", "top", 3), *clicks("tv", "down", 2, position=3), *clicks("tv", "one client", 1, 50)]
    seen += [Interaction("tv", f"client-{n}", "bought", "purchase") for n in range(2)]
    assert choices(seen, asked("tv", 6), RULES) == [Choice("tv", 6, ["bought", "down", "top"])]


def test_queries_of_few_clients_are_dropped() -> None:
    seen = clicks("tv", "p", 4)
    assert choices(seen, asked("tv", 4), RULES) == []
    assert choices(seen, asked("tv", 5), RULES) == [Choice("tv", 5, ["p"])]
    assert choices([], asked("tv", 9), RULES) == []


def test_one_client_that_clicks_all_day_counts_once() -> None:
    seen = [click("tv", "client-0", "p")] * 50
    assert choices(seen, asked("tv", 9), RULES) == []
    assert choices([*seen, click("tv", "client-1", "p")], asked("tv", 9), RULES) == [Choice("tv", 9, ["p"])]


def test_spellings_of_one_query_count_together_and_the_commonest_is_written() -> None:
    askers = {"TV": ["a", "b"], "ｔｖ": ["b", "c", "d"], " tv ": ["e"]}
    assert choices(clicks("Tv", "p", 2), askers, RULES) == [Choice("ｔｖ", 5, ["p"])]


def test_entries_say_products_and_no_client() -> None:
    chosen = [
        Choice("tv", 50, ["gone", "p1", "p2"]),
        Choice("old", 9, ["gone"]),
        Choice("x" * 300, 9, ["p1"]),
    ]
    shop = {"p1": Product("OLED TV"), "p2": Product("QLED TV", "TVs")}
    (entry,) = from_choices(chosen, shop, RULES, locale="en")
    assert (entry.query, entry.titles, entry.category, entry.weight) == (
        "tv",
        ["OLED TV", "QLED TV"],
        "TVs",
        2.0,
    )


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from("xyz")), max_size=60),
    st.dictionaries(st.sampled_from("ab"), st.sets(st.integers(0, 9)), max_size=2),
)
def test_nothing_rests_on_fewer_clients_than_the_rules_say(
    seen: list[tuple[str, int, str]], askers: dict[str, set[int]]
) -> None:
    interactions = [click(query, f"secret-{client}", product) for query, client, product in seen]
    named = {query: [f"secret-{client}" for client in clients] for query, clients in askers.items()}
    found = choices(interactions, named, RULES)
    for choice in found:
        assert len(askers[choice.query]) == choice.clients >= RULES.min_clients
        for product in choice.products:
            supporters = {c for q, c, p in seen if (q, p) == (choice.query, product)}
            assert len(supporters) >= RULES.min_support
    entries = from_choices(found, {product: Product(product) for product in "xyz"}, RULES)
    assert b"secret" not in dump_entries(entries)
