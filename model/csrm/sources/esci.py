"""The official release of the Shopping Queries data set (ESCI, arXiv 2206.06588): two parquet files, joined.

    shopping_queries_dataset_examples.parquet   example_id, query, product_id, product_locale, esci_label,
                                                small_version, split
    shopping_queries_dataset_products.parquet   product_id, product_locale, product_title, product_brand, product_color

Knows these files and parquet; knows no training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from csrm.errors import InputError, MissingExtraError
from csrm.sources.rows import Conversion, SourceRow, grade, row

EXAMPLES = "shopping_queries_dataset_examples.parquet"
PRODUCTS = "shopping_queries_dataset_products.parquet"
LOCALES = {"us": "en", "es": "es", "jp": "ja"}
"""Our locales by the release's."""

_KEY = ["product_id", "product_locale"]
_EXAMPLE = ["example_id", "query", *_KEY, "esci_label", "small_version", "split"]
_PRODUCT = [*_KEY, "product_title", "product_brand", "product_color"]
_TYPES = {"example_id": "int64", "small_version": "int64"}


def read_esci(
    folder: Path,
    *,
    locales: Sequence[str] = ("en", "es", "ja"),
    split: Literal["train", "test"] | None = None,
    small: bool = False,
) -> Conversion:
    """The labelled pairs of a release, in the order of ``example_id``.

    Args:
        folder: that holds both files.
        locales: those wanted, of en, es and ja.
        split: both where null.
        small: only the reduced version, without the easy queries.

    Raises:
        InputError: a file is missing or is no parquet, lacks a column, or there is no such locale.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.compute as pc
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    theirs = {ours: name for name, ours in LOCALES.items()}
    if unknown := set(locales) - set(theirs):
        raise InputError(
            f"locale: the release has no {', '.join(sorted(unknown))}; it has {', '.join(theirs)}."
        )
    wanted = pc.field("product_locale").isin([theirs[locale] for locale in locales])
    chosen = wanted
    if split is not None:
        chosen = chosen & (pc.field("split") == split)
    if small:
        chosen = chosen & (pc.field("small_version") == 1)
    examples = _read(folder / EXAMPLES, _EXAMPLE, chosen)
    products = _read(folder / PRODUCTS, _PRODUCT, wanted)
    joined = examples.join(products, keys=_KEY, join_type="left outer").sort_by("example_id")
    left_out: Counter[str] = Counter()
    return Conversion(_rows(joined, folder / EXAMPLES, left_out), left_out)


def _read(path: Path, columns: list[str], chosen: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"There is no {path}: give the folder of the release's parquet files.")
    try:
        there = pq.read_schema(path).names
        if missing := [column for column in columns if column not in there]:
            raise InputError(f"{path}: there is no column {', '.join(missing)}.")
        read = pq.read_table(path, columns=columns, filters=chosen)
        # Columns of nothing but nulls, or of categories, do not join as they are.
        return read.cast(pa.schema([(name, _TYPES.get(name, "string")) for name in read.column_names]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{path} is no parquet file of the release: {error}") from error


def _rows(joined: Any, path: Path, left_out: Counter[str]) -> Iterator[SourceRow]:
    for batch in joined.to_batches(max_chunksize=10_000):
        for said in batch.to_pylist():
            place = f"{path}, example {said['example_id']}"
            if not (said["product_title"] or "").strip():
                left_out["the product is not there or has no title"] += 1
                continue
            yield row(
                place,
                query=said["query"],
                title=said["product_title"],
                label=grade(said["esci_label"] or "", place),
                locale=LOCALES[said["product_locale"]],
                brand=said["product_brand"] or None,
                color=said["product_color"] or None,
            )
