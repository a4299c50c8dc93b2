"""Reads what shoppers did after a query out of the events of User Behavior Insights. Knows opensearch-py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.helpers import scan

from csrm_opensearch.ab_report import Action
from csrm_opensearch.cluster import client_errors_named


def read_actions(
    client: OpenSearch, index: str, kinds: Mapping[str, Action], *, since: str | None = None
) -> Iterator[tuple[str, Action]]:
    """Query ids, each with what was done after the query.

    Args:
        index: of the events.
        kinds: what each name of an action means; others are left out.
        since: only events from then on, a date as OpenSearch reads it.

    Raises:
        UnreachableError: no node answers.
        ClusterRefusedError: the index is missing, or the user may not read it.
    """
    clauses: list[dict[str, Any]] = [{"terms": {"action_name": list(kinds)}}]
    if since is not None:
        clauses.append({"range": {"timestamp": {"gte": since}}})
    body = {"query": {"bool": {"filter": clauses}}, "_source": ["query_id", "action_name"]}
    with client_errors_named(client, right="indices:data/read/search"):
        for hit in scan(client, query=body, index=index, size=2_000):
            event = hit["_source"]
            if event.get("query_id") and event.get("action_name") in kinds:
                yield event["query_id"], kinds[event["action_name"]]
