"""The demo shop in OpenSearch, and its queries: index, search, and how long a search took.

Knows opensearch-py and the demo's query body; knows no process and no figure. The same client class speaks to
OpenSearch and to the gateway, which is the point of the gateway.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch, Urllib3HttpConnection
from opensearchpy.helpers import streaming_bulk

from demo.errors import ForeignIndexError

OWNER = {"csrm_demo": True}
"""Marks the demo's indices, so that it never deletes anybody else's."""

_STATUS_HEADER = "csrm-status"
_BULK_DOCUMENTS = 500


class StatusConnection(Urllib3HttpConnection):
    """A connection that hands on the ``csrm-status`` header, which opensearch-py itself drops."""

    last_status = ""

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        status, headers, body = super().perform_request(*args, **kwargs)
        type(self).last_status = headers.get(_STATUS_HEADER, "")
        return status, headers, body


@dataclass(frozen=True)
class Answer:
    """What came back for one search: the hits, what the client waited, and what the gateway did."""

    hits: list[dict[str, Any]]
    took_ms: float
    status: str


def connect(url: str, timeout_s: float = 60.0) -> OpenSearch:
    """A client of OpenSearch or of the gateway. It never retries, so that a latency is one search's."""
    return OpenSearch(url, timeout=timeout_s, max_retries=0, connection_class=StatusConnection)


def index_name(locale: str) -> str:
    """The demo's index of a locale: ``shop-zh-tw`` for ``zh-TW``."""
    return f"shop-{locale.lower()}"


def index_shop(
    client: OpenSearch, locale: str, documents: list[dict[str, Any]], done: Callable[[int], None]
) -> None:
    """Put a locale's products into its index, made anew.

    Args:
        documents: OpenSearch documents with an ``id``.
        done: told after each document how many were added: always 1.

    Raises:
        ForeignIndexError: an index of that name holds something else.
    """
    name = index_name(locale)
    if client.indices.exists(index=name):
        mapping = client.indices.get_mapping(index=name)[name]["mappings"]
        if mapping.get("_meta") != OWNER:
            raise ForeignIndexError(
                f"OpenSearch already has an index {name} that the demo did not make: unset OPENSEARCH_URL or "
                "point it at a cluster without one."
            )
        client.indices.delete(index=name)
    client.indices.create(index=name, body={"mappings": {"_meta": OWNER}})
    actions = ({"_index": name, "_id": document["id"], "_source": document} for document in documents)
    for _ in streaming_bulk(client, actions, chunk_size=_BULK_DOCUMENTS):
        done(1)
    client.indices.refresh(index=name)


def search_body(locale: str, text: str, size: int) -> dict[str, Any]:
    """What the demo asks, as shops commonly do: the words in title, brand and category, the title foremost.

    The title is searched as it stands (model numbers, brands) and by the analyzer of the language.
    """
    analyzed = {"en": "title.en", "es": "title.es"}.get(locale, "title.cjk")
    return {
        "size": size,
        "query": {
            "multi_match": {
                "query": text,
                "fields": ["title^2", f"{analyzed}^2", "brand.text", "category.text"],
                "tie_breaker": 0.3,
            }
        },
    }


def search(client: OpenSearch, locale: str, text: str, size: int) -> Answer:
    """One search, timed from the call to the parsed answer."""
    started = time.perf_counter()
    body = client.search(index=index_name(locale), body=search_body(locale, text, size))
    took_ms = (time.perf_counter() - started) * 1000
    return Answer(hits=body["hits"]["hits"], took_ms=took_ms, status=StatusConnection.last_status)
