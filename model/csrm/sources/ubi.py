"""Weak labels out of User Behavior Insights (UBI 1.x): what many shoppers bought, clicked, or saw and passed over.

    queries    query_id, user_query, client_id, query_response_hit_ids
    events     query_id, client_id, action_name, event_attributes.object.object_id

Shoppers read a list from its top: what stands at or above the deepest product that a shopper chose was seen, and so was
the next one (Joachims et al. 2005, "skip above" and "skip next"). Of a query that enough shoppers asked, a product is

    E   bought by enough of them, or chosen by a large share of those who saw it
    S   chosen by enough of them, but by a smaller share
    I   seen by many and chosen by none

and otherwise has no label. C cannot be told from clicks. Such labels are wrong often: a price keeps shoppers away from
what they asked for, and a picture draws them to what they did not. They are marked ``label_by: clicks``, and are for
training with self-distillation, not for calibrating or measuring. Clients are counted here and go no further.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from csrm.errors import InputError
from csrm.knowledge.folding import fold
from csrm.sources.rows import Conversion, SourceRow, known, objects, row


class WeakLabelRules(BaseModel):
    """From when on behaviour is a label. Numbers are of different clients."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_clients: int = Field(default=5, ge=2, description="That must have asked a query.")
    min_support: int = Field(default=2, ge=1, description="That must have chosen a product for it.")
    exact_share: float = Field(default=0.3, gt=0, le=1, description="Of those who saw a product: it is E.")
    min_passed: int = Field(default=10, ge=2, description="That must have passed over a product: it is I.")
    clicks: tuple[str, ...] = Field(default=("click", "item_click", "product_click"), min_length=1)
    purchases: tuple[str, ...] = ("purchase", "buy")


@dataclass(slots=True)
class _Seen:
    """Clients by what they did with one product after one query."""

    saw: set[str] = field(default_factory=set)
    chose: set[str] = field(default_factory=set)
    bought: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Search:
    """One query record."""

    query: str
    client: str
    shown: list[str]


def read_ubi(
    queries: Path,
    events: Path,
    products: Path,
    *,
    locale: str,
    rules: WeakLabelRules,
    id_field: str = "id",
    title_field: str = "title",
) -> Conversion:
    """Weakly labelled pairs, by query and product id.

    Args:
        queries: UBI's query records, JSON lines, as exported from OpenSearch or bare.
        events: UBI's event records.
        products: of the shop, JSON lines.
        locale: of the queries.
        rules: of what counts.
        id_field: field of a product that UBI's ``object_id`` names; ``_id`` of an export is one too.
        title_field: field of its title.

    Raises:
        InputError: a file cannot be read or is empty, or a record lacks a field; the message names line and field.
    """
    searches = dict(_searches(queries))
    titles = known(_titles(products, id_field, title_field), str(products))
    left_out: Counter[str] = Counter()
    behaviour = _behaviour(events, searches, rules, left_out)
    return Conversion(_rows(searches.values(), behaviour, titles, locale, rules, left_out), left_out)


def weak_label(saw: int, chose: int, bought: int, rules: WeakLabelRules) -> str | None:
    """The label of a product by how many clients saw, chose (clicked or bought) and bought it; null for none."""
    if bought >= rules.min_support:
        return "E"
    if chose >= rules.min_support:
        return "E" if chose / max(saw, chose) >= rules.exact_share else "S"
    return "I" if chose == 0 and saw >= rules.min_passed else None


def _searches(path: Path) -> Iterator[tuple[str, _Search]]:
    for number, said in objects(path):
        text = [_text(said, name, path, number) for name in ("query_id", "user_query", "client_id")]
        shown = said.get("query_response_hit_ids") or []
        if not isinstance(shown, list):
            raise InputError(f"{path}, line {number}, field query_response_hit_ids: must be a list.")
        yield text[0], _Search(text[1], text[2], [str(product) for product in shown])


def _titles(path: Path, id_field: str, title_field: str) -> Iterator[tuple[str, str]]:
    for number, said in objects(path):
        yield _text(said, id_field, path, number), _text(said, title_field, path, number)


def _behaviour(
    path: Path, searches: Mapping[str, _Search], rules: WeakLabelRules, left_out: Counter[str]
) -> dict[tuple[str, str], _Seen]:
    """What clients did, by folded query and product."""
    found: dict[tuple[str, str], _Seen] = defaultdict(_Seen)
    chosen: dict[str, set[str]] = defaultdict(set)
    for number, said in objects(path):
        action = _text(said, "action_name", path, number)
        if action not in (*rules.clicks, *rules.purchases):
            continue
        attributes: Any = said.get("event_attributes")
        thing = attributes.get("object") if isinstance(attributes, dict) else None
        product = thing.get("object_id") if isinstance(thing, dict) else None
        search = searches.get(str(said.get("query_id")))
        if search is None or product is None:
            left_out["events that name no known query or no product"] += 1
            continue
        seen = found[fold(search.query), str(product)]
        seen.saw.add(search.client)
        seen.chose.add(search.client)
        if action in rules.purchases:
            seen.bought.add(search.client)
        chosen[str(said["query_id"])].add(str(product))
    for query_id, products in chosen.items():
        search = searches[query_id]
        deepest = max(
            (place for place, product in enumerate(search.shown) if product in products), default=-1
        )
        if deepest >= 0:
            for product in search.shown[: deepest + 2]:
                found[fold(search.query), product].saw.add(search.client)
    return found


def _rows(
    searches: Any,
    behaviour: Mapping[tuple[str, str], _Seen],
    titles: Mapping[str, str],
    locale: str,
    rules: WeakLabelRules,
    left_out: Counter[str],
) -> Iterator[SourceRow]:
    askers: dict[str, set[str]] = defaultdict(set)
    written: dict[str, Counter[str]] = defaultdict(Counter)
    for search in searches:
        askers[fold(search.query)].add(search.client)
        written[fold(search.query)][search.query] += 1
    for (query, product), seen in sorted(behaviour.items()):
        label = weak_label(len(seen.saw), len(seen.chose), len(seen.bought), rules)
        if not query or len(askers[query]) < rules.min_clients:
            left_out["pairs of queries that too few clients asked"] += 1
        elif label is None:
            left_out["pairs with too little behaviour to tell"] += 1
        elif product not in titles:
            left_out["pairs of products that are not there"] += 1
        else:
            text = min(written[query], key=lambda one: (-written[query][one], one))
            fields = {"query": text, "title": titles[product], "label": label, "locale": locale}
            yield row(f"product {product}", **fields, label_by="clicks")


def _text(said: Mapping[str, object], name: str, path: Path, number: int) -> str:
    value = said.get(name)
    if value is None or isinstance(value, dict | list) or not str(value).strip():
        raise InputError(f"{path}, line {number}, field {name}: is missing or blank.")
    return str(value).strip()
