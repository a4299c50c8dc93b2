"""Whether an index has the fields that somebody wants to count by. Knows opensearch-py and mappings."""

from __future__ import annotations

from collections.abc import Iterable

from opensearchpy import OpenSearch

from csrm_opensearch.cluster import client_errors_named
from csrm_opensearch.errors import ClusterRefusedError

_RIGHT = "indices:data/read/field_caps"


def require_countable(client: OpenSearch, index: str, fields: Iterable[str]) -> None:
    """See that every field can be aggregated; OpenSearch itself says no more than ``all shards failed``.

    Raises:
        ClusterRefusedError: there is no such index, or a field is missing or a text field.
        UnreachableError: no node answers.
    """
    wanted = sorted(set(fields))
    with client_errors_named(client, right=_RIGHT):
        answer = client.field_caps(index=index, fields=",".join(wanted))
    if not answer["indices"]:  # a pattern that no index meets
        raise ClusterRefusedError(f"There is no index {index}: correct its name.")
    for field in wanted:
        kinds = answer["fields"].get(field, {})
        if not kinds:
            raise ClusterRefusedError(f"{index} has no field {field}: name the one it has.")
        if not all(kind["aggregatable"] for kind in kinds.values()):
            raise ClusterRefusedError(
                f"The field {field} of {index} is a text and cannot be counted: name a keyword field, such as "
                f"{field}.keyword."
            )
