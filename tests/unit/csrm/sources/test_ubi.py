"""Weak labels out of behaviour: what was seen, chosen and passed over, by how many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrm.errors import InputError
from csrm.sources.rows import write
from csrm.sources.ubi import WeakLabelRules, read_ubi, weak_label
from csrm.training.data import read_pairs

RULES = WeakLabelRules(min_clients=3, min_support=2, min_passed=5)


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def search(number: int, query: str, client: str, shown: str) -> dict[str, Any]:
    return {
        "query_id": f"s{number}",
        "user_query": query,
        "client_id": client,
        "query_response_hit_ids": list(shown),
    }


def event(number: int, product: str, action: str = "click") -> dict[str, Any]:
    thing = {"object": {"object_id": product}, "position": {"ordinal": 1}}
    return {"query_id": f"s{number}", "client_id": "c", "action_name": action, "event_attributes": thing}


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Path]:
    """Ten clients see "abcd" and most choose c; d stands right below what they choose, and e further down."""
    searches = [search(i, "Case" if i % 3 else "ｃａｓｅ", f"c{i}", "abcde") for i in range(10)]
    searches += [search(20, "rare", "c1", "ab"), search(21, "rare", "c2", "ab")]
    events = [event(i, "c") for i in range(8)] + [event(0, "a", "purchase"), event(1, "a", "purchase")]
    events += [event(i, "e") for i in (8, 9)] + [event(20, "a"), event(21, "a")]
    events += [event(3, "c", "hover"), event(99, "c")]
    return {
        "queries": lines(tmp_path / "queries.jsonl", searches),
        "events": lines(tmp_path / "events.jsonl", events),
        "products": lines(
            tmp_path / "products.jsonl", [{"id": id, "title": f"thing {id}"} for id in "abcde"]
        ),
    }


def test_behaviour_of_many_becomes_labels(shop: dict[str, Path], tmp_path: Path) -> None:
    conversion = read_ubi(**shop, locale="en", rules=RULES)
    write(conversion, tmp_path / "out.jsonl")
    rows = read_pairs(tmp_path / "out.jsonl")
    assert {(row.query, row.title, row.label) for row in rows} == {
        ("Case", "thing a", "E"),  # bought by two
        ("Case", "thing c", "E"),  # chosen by eight of the ten who saw it
        ("Case", "thing b", "I"),  # passed over by all ten
        ("Case", "thing d", "I"),  # seen by all: it stands next to what was chosen
        ("Case", "thing e", "E"),  # only the two who chose it are known to have seen it
    }
    assert {row.label_by for row in rows} == {"clicks"}
    assert conversion.left_out == {
        "events that name no known query or no product": 1,
        "pairs of queries that too few clients asked": 2,
    }


def test_no_client_is_in_what_is_written(shop: dict[str, Path], tmp_path: Path) -> None:
    write(read_ubi(**shop, locale="en", rules=RULES), tmp_path / "out.jsonl")
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"query", "title", "label", "locale", "label_by"}


def test_records_exported_from_opensearch_are_the_same(shop: dict[str, Path], tmp_path: Path) -> None:
    write(read_ubi(**shop, locale="en", rules=RULES), tmp_path / "bare.jsonl")
    exported = {}
    for name, path in shop.items():
        records = [json.loads(line) for line in path.read_text().splitlines()]
        hits = [{"_index": "x", "_id": record.pop("id", "u"), "_source": record} for record in records]
        exported[name] = lines(tmp_path / f"exported-{name}.jsonl", hits)
    write(read_ubi(**exported, locale="en", rules=RULES, id_field="_id"), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == (tmp_path / "bare.jsonl").read_text()


@pytest.mark.parametrize(
    ("saw", "chose", "bought", "label"),
    [
        (50, 2, 2, "E"),
        (10, 3, 0, "E"),
        (50, 3, 0, "S"),
        (50, 1, 1, None),
        (5, 0, 0, "I"),
        (4, 0, 0, None),
    ],
)
def test_the_rule(saw: int, chose: int, bought: int, label: str | None) -> None:
    assert weak_label(saw, chose, bought, RULES) == label


@pytest.mark.parametrize(
    ("name", "record", "named"),
    [
        ("queries", {"query_id": "s1", "client_id": "c"}, "line 1, field user_query: is missing"),
        (
            "queries",
            {"query_id": "s", "user_query": "q", "client_id": "c", "query_response_hit_ids": "ab"},
            "must be a list",
        ),
        ("events", {"query_id": "s1"}, "line 1, field action_name"),
        ("products", {"id": "a"}, "line 1, field title"),
    ],
)
def test_faults_are_named(
    name: str, record: dict[str, Any], named: str, shop: dict[str, Path], tmp_path: Path
) -> None:
    lines(shop[name], [record])
    with pytest.raises(InputError, match=named):
        write(read_ubi(**shop, locale="en", rules=RULES), tmp_path / "out.jsonl")
    shop[name].write_text("")
    with pytest.raises(InputError, match="is empty"):
        write(read_ubi(**shop, locale="en", rules=RULES), tmp_path / "out.jsonl")
