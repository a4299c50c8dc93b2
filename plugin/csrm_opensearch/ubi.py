"""Reads what shoppers asked and chose out of User Behavior Insights indices (UBI 1.x), page by page.

A page holds some queries with all that was done after them. Clients are needed to count them and leave this
module only to be counted: nothing here writes anything. Knows opensearch-py and UBI's fields; knows no product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opensearchpy import OpenSearch
from opensearchpy.helpers import scan

from csrm_opensearch.cluster import client_errors_named
from csrm_opensearch.fields import require_countable

_RIGHT = "indices:data/read/search"
_QUERIES_A_PAGE = 200
_IDS_A_SEARCH = 5_000
_MOST_BOTS = 10_000


@dataclass(frozen=True, slots=True)
class UbiSource:
    """Where the records are, and which of them are a shopper's.

    Attributes:
        purchases: names of actions that mean that the product was bought; those in ``clicks``, looked at.
        max_queries_per_client: a client with more of them is a bot.
        since: only records from then on, a date as OpenSearch reads it (``2026-01-31``, ``now-90d``).
    """

    queries: str = "ubi_queries"
    events: str = "ubi_events"
    clicks: tuple[str, ...] = ("click", "item_click", "product_click")
    purchases: tuple[str, ...] = ("purchase", "buy")
    max_queries_per_client: int = 1_000
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A click or purchase after a query; ``position`` is from 1, None where it was not recorded."""

    query: str
    client: str
    product: str
    action: Literal["click", "purchase"]
    position: int | None


@dataclass(frozen=True, slots=True)
class UbiPage:
    """Some queries, whole: who asked them, and what was chosen."""

    askers: dict[str, set[str]]
    chosen: list[Chosen]
    after: dict[str, Any]
    """Where the next page begins."""


def read_ubi(
    client: OpenSearch, source: UbiSource, *, min_clients: int, after: dict[str, Any] | None = None
) -> Iterator[UbiPage]:
    """Queries that at least ``min_clients`` clients asked, in the order of their text.

    Args:
        after: of the last page that was read, to go on behind it.

    Raises:
        UnreachableError: no node answers; go on later with ``after``.
        ClusterRefusedError: an index is missing, has other fields, or the user may not read it.
    """
    require_countable(client, source.queries, ["user_query", "client_id", "query_id"])
    require_countable(client, source.events, ["query_id", "action_name"])
    while True:
        with client_errors_named(client, right=_RIGHT):
            wanted = _shoppers(client, source)
            answer = client.search(index=source.queries, body=_queries_page(wanted, min_clients, after))
            found = answer["aggregations"]["queries"]
            texts = [bucket["key"]["query"] for bucket in found["buckets"] if bucket["key"]["query"].strip()]
            if "after_key" not in found:
                return
            page = _page(client, source, wanted, texts, found["after_key"])
        yield page
        after = page.after


def _shoppers(client: OpenSearch, source: UbiSource) -> dict[str, list[Any]]:
    """The clauses that leave bots and old records out."""
    recent = [{"range": {"timestamp": {"gte": source.since}}}] if source.since else []
    body = {
        "size": 0,
        "query": {"bool": {"filter": recent}},
        "aggs": {
            "busy": {
                "terms": {
                    "field": "client_id",
                    "size": _MOST_BOTS,
                    "min_doc_count": source.max_queries_per_client + 1,
                }
            }
        },
    }
    found = client.search(index=source.queries, body=body)["aggregations"]["busy"]["buckets"]
    bots = [bucket["key"] for bucket in found]
    return {"filter": recent, "must_not": [{"terms": {"client_id": bots}}] if bots else []}


def _queries_page(
    wanted: dict[str, list[Any]], min_clients: int, after: dict[str, Any] | None
) -> dict[str, Any]:
    composite: dict[str, Any] = {
        "size": _QUERIES_A_PAGE,
        "sources": [{"query": {"terms": {"field": "user_query"}}}],
    }
    if after is not None:
        composite["after"] = after
    enough = {
        "bucket_selector": {
            "buckets_path": {"clients": "clients"},
            "script": f"params.clients >= {min_clients}",
        }
    }
    return {
        "size": 0,
        "query": {"bool": wanted},
        "aggs": {
            "queries": {
                "composite": composite,
                "aggs": {"clients": {"cardinality": {"field": "client_id"}}, "enough": enough},
            }
        },
    }


def _page(
    client: OpenSearch,
    source: UbiSource,
    wanted: dict[str, list[Any]],
    texts: Sequence[str],
    after: dict[str, Any],
) -> UbiPage:
    askers: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, str] = {}
    if texts:
        for record in _records(
            client, source.queries, wanted, {"user_query": texts}, ["query_id", "user_query", "client_id"]
        ):
            if record.get("client_id") and record.get("query_id"):
                askers[record["user_query"]].add(record["client_id"])
                asked[record["query_id"]] = record["user_query"]
    chosen: list[Chosen] = []
    ids = list(asked)
    for begin in range(0, len(ids), _IDS_A_SEARCH):
        terms = {
            "query_id": ids[begin : begin + _IDS_A_SEARCH],
            "action_name": [*source.clicks, *source.purchases],
        }
        fields = ["query_id", "client_id", "action_name", "event_attributes"]
        for record in _records(client, source.events, wanted, terms, fields):
            if one := _chosen(record, asked[record["query_id"]], source):
                chosen.append(one)
    return UbiPage(dict(askers), chosen, after)


def _chosen(record: dict[str, Any], query: str, source: UbiSource) -> Chosen | None:
    """The record as a choice; None where it does not say who chose what."""
    attributes = record.get("event_attributes") or {}
    product = (attributes.get("object") or {}).get("object_id")
    position = (attributes.get("position") or {}).get("ordinal")
    if product is None or not record.get("client_id"):
        return None
    return Chosen(
        query=query,
        client=record["client_id"],
        product=str(product),
        action="purchase" if record["action_name"] in source.purchases else "click",
        position=position if isinstance(position, int) else None,
    )


def _records(
    client: OpenSearch,
    index: str,
    wanted: dict[str, list[Any]],
    terms: Mapping[str, Sequence[str]],
    fields: list[str],
) -> Iterator[dict[str, Any]]:
    clauses = [{"terms": {field: list(values)}} for field, values in terms.items()]
    query = {**wanted, "filter": [*wanted["filter"], *clauses]}
    body = {"query": {"bool": query}, "_source": fields}
    for hit in scan(client, query=body, index=index, size=2_000):
        yield hit["_source"]
