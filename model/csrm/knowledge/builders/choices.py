"""What shoppers chose for a query, out of clicks and purchases, in a form that tells of no single shopper.

A click far down the page says more than one at the top, where people look anyway: clicks are weighted by the
inverse of the chance that the position was looked at, (1 / position) ** bias, as in Joachims, Swaminathan and
Schnabel 2017, "Unbiased Learning-to-Rank with Biased Feedback", clipped since few clicks far down are noise.
Queries of few clients are dropped (k-anonymity), and so are products that few of them chose. Clients are
counted here and go no further. Knows interactions and rules; knows neither products nor OpenSearch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from csrm.knowledge.builders.merging import entry_id
from csrm.knowledge.entries import QueryEntry
from csrm.knowledge.folding import fold


@dataclass(frozen=True, slots=True)
class Interaction:
    """One click or purchase. ``position`` is from 1, None where it was not recorded."""

    query: str
    client: str
    product: str
    action: Literal["click", "purchase"]
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a query, best first."""

    query: str
    clients: int
    """How many different ones asked it."""
    products: list[str]


@dataclass(frozen=True, slots=True)
class Product:
    """What an entry says of a product."""

    title: str
    category: str | None = None


class ChoiceRules(BaseModel):
    """From when on a choice counts, and how much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_clients: int = Field(default=5, ge=2, description="Clients that must have asked a query.")
    min_support: int = Field(default=2, ge=1, description="Clients that must have chosen a product for it.")
    position_bias: float = Field(default=1.0, ge=0, le=2, description="0 takes every click as it is.")
    max_click_weight: float = Field(default=10.0, ge=1)
    purchase_weight: float = Field(default=5.0, ge=1, description="Clicks at position 1 a purchase is worth.")
    max_titles: int = Field(default=5, ge=1, le=50)


def choices(
    interactions: Iterable[Interaction], askers: Mapping[str, Iterable[str]], rules: ChoiceRules
) -> list[Choice]:
    """The queries that enough clients asked, with the products that enough of them chose.

    Args:
        interactions: in any order. Queries that differ in case, width and spacing alone are one.
        askers: clients by query, as they asked it.
        rules: of what counts.

    Returns:
        By number of clients, most first; of equal numbers by the query. Written as most clients wrote it.
    """
    clients: dict[str, set[str]] = defaultdict(set)
    written: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for query, asking in askers.items():
        names = set(asking)
        clients[fold(query)] |= names
        written[fold(query)].append((-len(names), query))
    weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    choosers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in set(interactions):
        query = fold(one.query)
        weights[query][one.product] += weight(one, rules)
        choosers[query, one.product].add(one.client)
    found = []
    for query, asking in clients.items():
        chosen = {
            product: round(total, 6)  # the order of a sum must not part what is equal
            for product, total in weights[query].items()
            if len(choosers[query, product]) >= rules.min_support
        }
        if len(asking) >= rules.min_clients and chosen:
            best = sorted(chosen, key=lambda product: (-chosen[product], product))[: rules.max_titles]
            found.append(Choice(min(written[query])[1], len(asking), best))
    return sorted(found, key=lambda choice: (-choice.clients, choice.query))


def weight(one: Interaction, rules: ChoiceRules) -> float:
    """What one interaction is worth, in clicks at position 1."""
    if one.action == "purchase":
        return rules.purchase_weight
    return min(math.pow(max(one.position or 1, 1), rules.position_bias), rules.max_click_weight)


def from_choices(
    chosen: Iterable[Choice],
    products: Mapping[str, Product],
    rules: ChoiceRules,
    *,
    locale: str | None = None,
    source: str = "ubi",
) -> list[QueryEntry]:
    """Query entries; products that are no longer sold are left out, and queries without any other.

    An entry's weight grows with the tenfold of clients, from 1 at the least number that counts.
    """
    entries = []
    for choice in chosen:
        sold = [products[product] for product in choice.products if product in products]
        if not sold or len(choice.query) > 200 or not choice.query.strip():
            continue
        entries.append(
            QueryEntry(
                id=entry_id(source, choice.query, locale or ""),
                locale=locale,
                source=source,
                query=choice.query,
                titles=list(dict.fromkeys(product.title[:1_000] for product in sold)),
                category=next((product.category[:500] for product in sold if product.category), None),
                weight=round(1 + math.log10(choice.clients / rules.min_clients), 2),
            )
        )
    return entries
