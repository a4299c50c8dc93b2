"""The official ESCI release and WANDS, in files laid out as theirs are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csrm.errors import InputError
from csrm.sources.esci import EXAMPLES, PRODUCTS, read_esci
from csrm.sources.rows import Conversion, write
from csrm.sources.wands import read_wands


def written(conversion: Conversion, path: Path) -> list[dict[str, Any]]:
    write(conversion, path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def example(
    number: int, query: str, product: str, locale: str, label: str, **more: object
) -> dict[str, object]:
    fields = {"example_id": number, "query": query, "query_id": number, "product_id": product}
    rest = {"product_locale": locale, "esci_label": label, "small_version": 1, "large_version": 1}
    return fields | rest | {"split": "train"} | more


def product(id: str, locale: str, title: str | None, brand: str | None = None) -> dict[str, object]:
    fields = {
        "product_id": id,
        "product_title": title,
        "product_description": "x",
        "product_bullet_point": None,
    }
    return fields | {"product_brand": brand, "product_color": None, "product_locale": locale}


@pytest.fixture
def esci(tmp_path: Path) -> Path:
    examples = [
        example(3, "funda", "B1", "es", "S"),
        example(1, "case", "B1", "us", "E"),
        example(2, "case", "B2", "us", "I", small_version=0),
        example(4, "ケース", "B3", "jp", "C", split="test"),
        example(5, "case", "B9", "us", "E"),
        example(6, "case", "B4", "us", "E"),
    ]
    products = [
        product("B1", "us", "Red case", "Acme"),
        product("B1", "es", "Funda roja"),
        product("B2", "us", "Gnome"),
        product("B3", "jp", "ガラスフィルム"),
        product("B4", "us", None),
    ]
    pq.write_table(pa.Table.from_pylist(examples), tmp_path / EXAMPLES)
    pq.write_table(pa.Table.from_pylist(products), tmp_path / PRODUCTS)
    return tmp_path


def test_examples_meet_the_product_of_their_own_locale(esci: Path) -> None:
    conversion = read_esci(esci)
    assert written(conversion, esci / "out.jsonl") == [
        {"query": "case", "title": "Red case", "label": "E", "locale": "en", "brand": "Acme"},
        {"query": "case", "title": "Gnome", "label": "I", "locale": "en"},
        {"query": "funda", "title": "Funda roja", "label": "S", "locale": "es"},
        {"query": "ケース", "title": "ガラスフィルム", "label": "C", "locale": "ja"},
    ]
    assert conversion.left_out == {"the product is not there or has no title": 2}
    assert conversion.labels == {"en E": 1, "en I": 1, "es S": 1, "ja C": 1}


@pytest.mark.parametrize(
    ("options", "queries"),
    [
        ({"split": "test"}, ["ケース"]),
        ({"small": True, "locales": ["en"]}, ["case"]),
        ({"locales": ["es", "ja"]}, ["funda", "ケース"]),
    ],
)
def test_a_part_of_the_release(options: dict[str, Any], queries: list[str], esci: Path) -> None:
    assert [row["query"] for row in written(read_esci(esci, **options), esci / "out.jsonl")] == queries


def test_what_is_no_release_is_named(esci: Path) -> None:
    with pytest.raises(InputError, match="locale: the release has no ko"):
        read_esci(esci, locales=["ko"])
    pq.write_table(pa.table({"product_id": ["B1"]}), esci / PRODUCTS)
    with pytest.raises(InputError, match=r"products\.parquet: there is no column product_locale"):
        read_esci(esci)
    (esci / PRODUCTS).write_text("no parquet")
    with pytest.raises(InputError, match="is no parquet file"):
        read_esci(esci)
    (esci / PRODUCTS).unlink()
    with pytest.raises(InputError, match=r"There is no .*products"):
        read_esci(esci)


def test_an_unknown_label_names_its_example_and_leaves_no_file(esci: Path) -> None:
    pq.write_table(pa.Table.from_pylist([example(8, "case", "B1", "us", "X")]), esci / EXAMPLES)
    with pytest.raises(InputError, match="example 8, field label: 'X' is unknown"):
        write(read_esci(esci), esci / "out.jsonl")
    assert sorted(path.name for path in esci.iterdir()) == [EXAMPLES, PRODUCTS]


def test_a_part_without_rows_writes_nothing(esci: Path) -> None:
    with pytest.raises(InputError, match="No rows"):
        write(read_esci(esci, locales=["es"], split="test"), esci / "out.jsonl")
    assert not (esci / "out.jsonl").exists()


@pytest.fixture
def wands(tmp_path: Path) -> Path:
    (tmp_path / "query.csv").write_text("query_id\tquery\tquery_class\n0\tsalon chair\tMassage Chairs\n")
    (tmp_path / "product.csv").write_text(
        "product_id\tproduct_name\tproduct_class\tproduct_description\n"
        '7\tBarber chair\tChairs\t"a ""long"" text\nover two lines"\n8\tStool\tStools\t\n9\tGnome\tGarden\t\n'
    )
    (tmp_path / "label.csv").write_text(
        "id\tquery_id\tproduct_id\tlabel\n0\t0\t7\tExact\n1\t0\t8\tPartial\n2\t0\t9\tIrrelevant\n3\t0\t10\tExact\n"
    )
    return tmp_path


def test_wands_has_three_grades(wands: Path) -> None:
    conversion = read_wands(wands)
    rows = written(conversion, wands / "out.jsonl")
    assert [(row["title"], row["label"]) for row in rows] == [
        ("Barber chair", "E"),
        ("Stool", "S"),
        ("Gnome", "I"),
    ]
    assert {row["locale"] for row in rows} == {"en"}
    assert conversion.left_out.total() == 1


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        (
            "label.csv",
            "id\tquery_id\tproduct_id\tlabel\n0\t0\t7\tGood\n",
            "line 2, field label: 'Good' is unknown",
        ),
        (
            "label.csv",
            "id\tquery_id\tproduct_id\tlabel\n0\t0\n",
            "line 2, field product_id: the line is cut off",
        ),
        ("label.csv", "", "label.csv is empty"),
        ("query.csv", "id,query\n", "there is no column query_id"),
        ("query.csv", "query_id\tquery\n0\ta\n0\tb\n", "the id 0 stands there twice"),
    ],
)
def test_faults_of_wands_are_named(file: str, content: str, named: str, wands: Path) -> None:
    (wands / file).write_text(content)
    with pytest.raises(InputError, match=named):
        write(read_wands(wands), wands / "out.jsonl")
