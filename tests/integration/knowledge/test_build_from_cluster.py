"""Knowledge out of a real cluster: UBI records and a product index, and what happens when it goes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch
from opensearchpy import exceptions as client_errors
from opensearchpy.helpers import bulk
from typer.testing import CliRunner

from csrm.knowledge import CategoryEntry, QueryEntry, TermEntry, read_entries
from csrm.knowledge.builders.choices import ChoiceRules
from csrm_cli.commands.knowledge_build import app
from csrm_cli.knowledge_sources import from_products, from_ubi
from csrm_opensearch.errors import ClusterRefusedError, UnreachableError
from csrm_opensearch.product_facts import ProductFields
from csrm_opensearch.testing import OpenSearchNode
from csrm_opensearch.ubi import UbiSource

KEYWORD = {"type": "keyword"}
# As the UBI plugin makes its indices, as far as anything here reads them.
QUERIES = {"properties": dict.fromkeys(("query_id", "user_query", "client_id"), KEYWORD)}
QUERIES["properties"]["timestamp"] = {"type": "date"}
EVENTS = {
    "properties": {
        **dict.fromkeys(("query_id", "client_id", "action_name"), KEYWORD),
        "timestamp": {"type": "date"},
        "event_attributes": {
            "properties": {
                "object": {"properties": {"object_id": KEYWORD}},
                "position": {"properties": {"ordinal": {"type": "integer"}}},
            }
        },
    }
}
PRODUCTS = {"properties": {"title": {"type": "text"}, "brand": KEYWORD, "category": KEYWORD, "fit": KEYWORD}}
DAY = "2026-06-01"
FILLERS = 450  # more queries than a page holds


class Shop:
    """Indices of one test and the records to put there."""

    def __init__(self, client: OpenSearch, name: str) -> None:
        self.client = client
        self.source = UbiSource(queries=f"{name}-queries", events=f"{name}-events", max_queries_per_client=50)
        self.products = f"{name}-products"
        self.records: list[dict[str, Any]] = []

    def asked(self, query: str, client: str, day: str = DAY) -> str:
        id = f"{query}/{client}/{len(self.records)}"
        record = {"query_id": id, "user_query": query, "client_id": client, "timestamp": day}
        self.records.append({"_index": self.source.queries, **record})
        return id

    def did(self, action: str, query_id: str, client: str | None, product: str, position: int | None) -> None:
        attributes: dict[str, Any] = {"object": {"object_id": product}}
        if position:
            attributes["position"] = {"ordinal": position}
        record = {
            "query_id": query_id,
            "action_name": action,
            "event_attributes": attributes,
            "timestamp": DAY,
        }
        self.records.append({"_index": self.source.events, "client_id": client, **record})

    def write(self) -> None:
        bulk(self.client, self.records, refresh=True)

    def entries(self, kept: Path, **change: Any) -> list[QueryEntry]:
        found = from_ubi(
            change.get("client", self.client),
            self.source,
            self.products,
            ProductFields(),
            ChoiceRules(),
            locale="en",
            kept=kept,
        )
        assert not kept.exists()
        return sorted(found, key=lambda entry: entry.query)


@pytest.fixture
def shop(client: OpenSearch, index_name: str) -> Iterator[Shop]:
    shop = Shop(client, index_name)
    for index, mappings in (
        (shop.source.queries, QUERIES),
        (shop.source.events, EVENTS),
        (shop.products, PRODUCTS),
    ):
        client.indices.create(index=index, body={"mappings": mappings})
    for id, title, category in (
        ("p1", "Oak TV stand", "Home > TV Stands"),
        ("p2", "Glass TV stand", "Home > TV Stands"),
        ("p3", "Floating TV shelf", "Home > Shelves"),
    ):
        client.index(index=shop.products, id=id, body={"title": title, "category": category}, refresh=True)
    return shop


def fill(shop: Shop) -> None:
    """``tv stand`` of six clients, and everything that must not come out."""
    for number in range(FILLERS):
        shop.asked(f"only one asks {number:03d}", f"client-{number}")
    for number in range(6):
        client = f"client-{number}"
        id = shop.asked("tv stand", client)
        if number < 3:
            shop.did("click", id, client, "p1", 1)
        if number < 2:
            shop.did("click", id, client, "p2", 4)
            shop.did("purchase", id, client, "p3", None)
            shop.did("click", id, client, "gone", 9)
            shop.did("hover", id, client, "p1", 1)
        shop.did("click", id, None, "p1", 1)
    for number in range(4):  # one client too few
        shop.did("click", shop.asked("diary of client four", f"client-{number}"), f"client-{number}", "p1", 1)
    for number in range(5):  # nobody chose anything
        shop.asked("warp drive", f"client-{number}")
    for number in range(60):  # a bot, of which the fifth client of this query is one
        shop.asked(f"scraped {number}", "client-bot")
    for client in ("client-bot", *(f"client-{number}" for number in range(4))):
        shop.did("click", shop.asked("robot", client), client, "p1", 1)
    shop.write()


def test_what_shoppers_chose_becomes_entries_without_shoppers(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    (entry,) = shop.entries(tmp_path / "kept")
    assert (entry.query, entry.locale, entry.source) == ("tv stand", "en", "ubi")
    assert entry.titles == ["Floating TV shelf", "Glass TV stand", "Oak TV stand"]
    assert entry.category == "Home > Shelves"
    assert "client" not in entry.model_dump_json()


def test_old_records_do_not_count(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    shop.source = UbiSource(shop.source.queries, shop.source.events, since="2026-06-02")
    assert shop.entries(tmp_path / "kept") == []


def test_clicks_alone_are_enough_and_no_events_are_none(shop: Shop, tmp_path: Path) -> None:
    for number in range(5):
        id = shop.asked("stand", f"client-{number}")
        shop.asked("shelf", f"client-{number}")
        shop.did("click", id, f"client-{number}", "p2", 2)
    shop.write()
    assert [entry.titles for entry in shop.entries(tmp_path / "kept")] == [["Glass TV stand"]]


def test_no_such_index_is_said_so(shop: Shop, tmp_path: Path) -> None:
    shop.source = UbiSource(queries="no-such-index", events=shop.source.events)
    with pytest.raises(ClusterRefusedError, match="no such index"):
        shop.entries(tmp_path / "kept")
    shop.source = UbiSource(queries="no-such-*", events=shop.source.events)
    with pytest.raises(ClusterRefusedError, match="There is no index"):
        shop.entries(tmp_path / "kept")


class Leaving:
    """The cluster's client; after some searches nobody answers any more."""

    def __init__(self, client: OpenSearch, searches: int) -> None:
        self._client, self._left, self.searches = client, searches, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def search(self, *arguments: Any, **options: Any) -> Any:
        if self.searches == self._left:
            raise client_errors.ConnectionError("N/A", "gone", ConnectionRefusedError())
        self.searches += 1
        return self._client.search(*arguments, **options)


def test_a_build_that_is_cut_off_goes_on_where_it_was(shop: Shop, tmp_path: Path) -> None:
    fill(shop)
    kept = tmp_path / "kept"
    expected = shop.entries(kept)
    whole = Leaving(shop.client, 1_000)
    assert shop.entries(kept, client=whole) == expected

    with pytest.raises(UnreachableError):
        shop.entries(kept, client=Leaving(shop.client, whole.searches - 4))
    assert len(kept.read_bytes().splitlines()) >= 2
    assert b"client" not in kept.read_bytes().split(b"\n", 1)[1]
    rest = Leaving(shop.client, 1_000)
    assert shop.entries(kept, client=rest) == expected
    assert rest.searches < whole.searches

    with pytest.raises(UnreachableError):
        shop.entries(kept, client=Leaving(shop.client, whole.searches - 4))
    kept.write_bytes(kept.read_bytes()[:-20])  # killed while it wrote
    assert shop.entries(kept) == expected


def test_products_become_brands_categories_and_telling_attributes(client: OpenSearch, shop: Shop) -> None:
    documents = [
        {"title": f"Case {n}", "brand": "Halden", "category": "Phones > Cases", "fit": ["MagSafe", "Black"]}
        for n in range(6)
    ]
    documents += [
        {"title": f"Shoe {n}", "brand": "Strivo", "category": "Sports > Shoes", "fit": "Black"}
        for n in range(6)
    ]
    bulk(client, [{"_index": shop.products, **document} for document in documents], refresh=True)
    entries = from_products(client, shop.products, ProductFields(), ["fit"], locale="en")
    terms = {entry.term: entry.meaning for entry in entries if isinstance(entry, TermEntry)}
    assert terms == {"Halden": "brand of Cases", "Strivo": "brand of Shoes", "MagSafe": "said of Cases"}
    paths = {entry.paths["en"] for entry in entries if isinstance(entry, CategoryEntry)}
    assert paths == {"Phones > Cases", "Sports > Shoes"}
    with pytest.raises(ClusterRefusedError, match=r"The field title .* name a keyword field, such as title"):
        from_products(client, shop.products, ProductFields(brand="title"), [], locale="en")
    with pytest.raises(ClusterRefusedError, match="has no field colour"):
        from_products(client, shop.products, ProductFields(), ["colour"], locale="en")


def test_the_command_adds_to_a_file_and_the_second_time_nothing(
    opensearch: OpenSearchNode, shop: Shop, tmp_path: Path
) -> None:
    fill(shop)
    into = tmp_path / "entries.jsonl"
    arguments = ["ubi", "--into", str(into), "--products", shop.products, "--opensearch", opensearch.url]
    arguments += ["--queries-index", shop.source.queries, "--events-index", shop.source.events]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    # The bot is one of a thousand queries a client here, so its query counts.
    assert [line.split(":")[0] for line in dry.output.splitlines()][-1] == str(into)
    assert '"tv stand" shoppers chose: ' in dry.output
    assert not into.exists()
    assert "2 new, 0 changed, 0 as they were, 2 in all" in CliRunner().invoke(app, arguments).output
    written = into.read_bytes()
    assert "0 new, 0 changed, 2 as they were, 2 in all" in CliRunner().invoke(app, arguments).output
    assert into.read_bytes() == written
    assert {entry.source for entry in read_entries(into)} == {"ubi"}
