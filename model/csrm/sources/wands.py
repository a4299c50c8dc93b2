"""The WANDS data set (Wayfair, ECIR 2022): three tab-separated files, joined.

    query.csv     query_id, query
    product.csv   product_id, product_name
    label.csv     query_id, product_id, label (Exact, Partial, Irrelevant)

Exact becomes E, Partial S and Irrelevant I; WANDS has no complements. Knows these files alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from csrm.sources.rows import Conversion, SourceRow, grade, known, row, table

LABELS = {"exact": "E", "partial": "S", "irrelevant": "I"}


def read_wands(folder: Path) -> Conversion:
    """The labelled pairs, in the order of ``label.csv``; all are English.

    Raises:
        InputError: a file is missing, lacks a column, or a label is unknown; the message names line and field.
    """
    queries = known(_texts(folder / "query.csv", "query_id", "query"), str(folder / "query.csv"))
    products = known(
        _texts(folder / "product.csv", "product_id", "product_name"), str(folder / "product.csv")
    )
    left_out: Counter[str] = Counter()
    return Conversion(_rows(folder / "label.csv", queries, products, left_out), left_out)


def _texts(path: Path, key: str, text: str) -> Iterator[tuple[str, str]]:
    for _, fields in table(path, [key, text], delimiter="\t"):
        yield fields[key], fields[text]


def _rows(
    path: Path, queries: dict[str, str], products: dict[str, str], left_out: Counter[str]
) -> Iterator[SourceRow]:
    for number, fields in table(path, ["query_id", "product_id", "label"], delimiter="\t"):
        place = f"{path}, line {number}"
        query, title = queries.get(fields["query_id"], ""), products.get(fields["product_id"], "")
        if not query.strip() or not title.strip():
            left_out["the query or the product is not there or has no text"] += 1
            continue
        yield row(place, query=query, title=title, label=grade(fields["label"], place, LABELS), locale="en")
