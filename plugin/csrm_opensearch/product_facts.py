"""Counts and titles of a product index: what brands and attributes there are in which category.

Counting is the cluster's: composite aggregations, page by page. Knows opensearch-py; knows no rule of what a
count means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch

from csrm_opensearch.cluster import client_errors_named
from csrm_opensearch.fields import require_countable

_RIGHT = "indices:data/read/search"
_BUCKETS_A_PAGE = 1_000
_IDS_A_SEARCH = 500


@dataclass(frozen=True, slots=True)
class ProductFields:
    """Where a product document says what. ``brand`` and ``category`` must be keywords."""

    id: str = "_id"
    title: str = "title"
    brand: str = "brand"
    category: str = "category"


def values_by_category(
    client: OpenSearch, index: str, field: str, category: str
) -> dict[str, dict[str, int]]:
    """Products by value of ``field`` and by category; both are keyword fields.

    Raises:
        UnreachableError, ClusterRefusedError
    """
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for key, products in _composite(client, index, {"value": field, "category": category}):
        counts[key["value"]][key["category"]] = products
    return dict(counts)


def categories(client: OpenSearch, index: str, category: str) -> dict[str, int]:
    """Products by category.

    Raises:
        UnreachableError, ClusterRefusedError
    """
    return {key["category"]: products for key, products in _composite(client, index, {"category": category})}


def titles(
    client: OpenSearch, index: str, ids: Sequence[str], fields: ProductFields
) -> dict[str, tuple[str, str | None]]:
    """Title and category by id, of the products that are there.

    Raises:
        UnreachableError, ClusterRefusedError
    """
    found: dict[str, tuple[str, str | None]] = {}
    for begin in range(0, len(ids), _IDS_A_SEARCH):
        some = list(ids[begin : begin + _IDS_A_SEARCH])
        body = {
            "size": len(some),
            "query": {"terms": {fields.id: some}},
            "_source": [fields.title, fields.category, fields.id],
        }
        with client_errors_named(client, right=_RIGHT):
            hits = client.search(index=index, body=body)["hits"]["hits"]
        for hit in hits:
            source = hit["_source"]
            name = hit["_id"] if fields.id == "_id" else str(source.get(fields.id))
            title, category = source.get(fields.title), source.get(fields.category)
            if isinstance(title, str) and title.strip():
                found.setdefault(name, (title, category if isinstance(category, str) else None))
    return found


def _composite(
    client: OpenSearch, index: str, fields: dict[str, str]
) -> Iterator[tuple[dict[str, Any], int]]:
    require_countable(client, index, fields.values())
    composite: dict[str, Any] = {
        "size": _BUCKETS_A_PAGE,
        "sources": [{name: {"terms": {"field": field}}} for name, field in fields.items()],
    }
    while True:
        with client_errors_named(client, right=_RIGHT):
            answer = client.search(
                index=index, body={"size": 0, "aggs": {"counts": {"composite": composite}}}
            )
        found = answer["aggregations"]["counts"]
        for bucket in found["buckets"]:
            yield bucket["key"], bucket["doc_count"]
        if "after_key" not in found:
            return
        composite["after"] = found["after_key"]
