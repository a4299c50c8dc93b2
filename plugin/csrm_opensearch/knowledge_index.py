"""Knowledge entries in an index that every replica shares: published whole, asked with one hybrid query.

An entry is one document with its vectors in it (nested, HNSW of the Lucene engine). A version of knowledge is
one index, and an alias names the one that holds: it moves only when the new index is complete. Knows
opensearch-py, k-NN and neural-search; knows no embedding engine and does not judge what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.helpers import BulkIndexError, bulk

from csrm_opensearch.cluster import client_errors_named
from csrm_opensearch.errors import KnowledgeIndexError
from csrm_opensearch.templates import load_templates

ALIAS = "csrm-knowledge"
PLUGINS = ("opensearch-knn", "opensearch-neural-search")

_RIGHT = "indices:admin/create and indices:data/write/bulk"
_FUSION = {"score-ranker-processor": {"combination": {"technique": "rrf"}}}
"""Reciprocal rank fusion of neural-search, from 2.19 on."""

Document = tuple[Mapping[str, Any], Sequence[str], Sequence[Sequence[float]]]
"""(entry as JSON, the texts it is found by, a vector for each)."""


def require_plugins(client: OpenSearch) -> None:
    """See that every node has k-NN and neural-search.

    Raises:
        KnowledgeIndexError: a node lacks one; the message says what can be done without.
        UnreachableError, ClusterRefusedError
    """
    with client_errors_named(client, right="cluster:monitor/nodes/info"):
        nodes = client.nodes.info(metric="plugins")["nodes"].values()
    for node in nodes:
        if lacking := sorted(set(PLUGINS) - {plugin["name"] for plugin in node["plugins"]}):
            raise KnowledgeIndexError(
                f"The node {node['name']} has no {' and no '.join(lacking)}: install it, or serve knowledge from "
                "a snapshot (csrm serve --knowledge FOLDER)."
            )


def publish(
    client: OpenSearch,
    version: str,
    state: Mapping[str, Any],
    documents: Iterable[Document],
    *,
    dimension: int,
    alias: str = ALIAS,
) -> bool:
    """Put knowledge of this version into the cluster; searches see it all at once, and the old one is removed.

    Args:
        version: names the index, so letters, digits and dashes.
        state: said by `published` of this version; plain JSON.
        documents: all entries.
        dimension: of every vector.
        alias: what searches ask.

    Returns:
        Whether there was anything to do: False where that version is published already.

    Raises:
        KnowledgeIndexError: no k-NN, or a document was refused; what was published before stays.
        UnreachableError, ClusterRefusedError
    """
    require_plugins(client)
    index = f"{alias}-{version}"
    with client_errors_named(client, right=_RIGHT):
        holding = _holding(client, alias)
        if index in holding:
            return False
        client.indices.delete(index=index, ignore_unavailable=True)  # one that was never finished
        client.indices.create(index=index, body=_body(state, dimension))
        try:
            bulk(client, _actions(index, documents), refresh=True, chunk_size=200)
        except BulkIndexError as error:
            raise KnowledgeIndexError(
                f"{len(error.errors)} entries were refused by the cluster, e.g. {_why(error)}; nothing changed."
            ) from error
        swap = [{"remove": {"index": old, "alias": alias}} for old in holding]
        swap.append({"add": {"index": index, "alias": alias}})
        client.indices.update_aliases(body={"actions": swap})
        for old in holding:
            client.indices.delete(index=old)
    return True


def published(client: OpenSearch, *, alias: str = ALIAS) -> dict[str, Any]:
    """The ``state`` of the knowledge that is published.

    Raises:
        KnowledgeIndexError: none is.
        UnreachableError, ClusterRefusedError
    """
    with client_errors_named(client, right="indices:admin/mappings/get"):
        holding = _holding(client, alias)
        if not holding:
            raise KnowledgeIndexError(f"No knowledge is published as {alias}: use csrm knowledge publish.")
        mappings = client.indices.get_mapping(index=holding[0])[holding[0]]["mappings"]
    return dict(mappings["_meta"])


def candidates(
    client: OpenSearch,
    query: str,
    vector: Sequence[float],
    size: int,
    *,
    alias: str = ALIAS,
    timeout_s: float = 30.0,
) -> list[Document]:
    """The entries nearest to a query by meaning or by spelling, fused by reciprocal rank.

    Raises:
        UnreachableError, ClusterRefusedError
    """
    near = {
        "nested": {"path": "texts", "query": {"knn": {"texts.vector": {"vector": list(vector), "k": size}}}}
    }
    alike = {
        "multi_match": {
            "query": query[:200],
            "fields": ["search_text", "search_text.cjk", "search_text.grams"],
            "type": "most_fields",
        }
    }
    body = {
        "size": size,
        "query": {"hybrid": {"queries": [near, alike]}},
        "search_pipeline": {"phase_results_processors": [_FUSION]},
    }
    with client_errors_named(client, right="indices:data/read/search"):
        hits = client.search(index=alias, body=body, request_timeout=timeout_s)["hits"]["hits"]
    found: list[Document] = []
    for hit in hits:
        entry = dict(hit["_source"])
        texts = entry.pop("texts")
        entry.pop("search_text", None)
        found.append((entry, [text["text"] for text in texts], [text["vector"] for text in texts]))
    return found


def _holding(client: OpenSearch, alias: str) -> list[str]:
    return sorted(client.indices.get_alias(name=alias)) if client.indices.exists_alias(name=alias) else []


def _body(state: Mapping[str, Any], dimension: int) -> dict[str, Any]:
    """The shipped template with the vector's field, which only a node with k-NN takes."""
    template = next(one for one in load_templates() if one.name == "csrm-knowledge").body["template"]
    mappings = template["mappings"] | {"_meta": dict(state)}
    mappings["properties"]["texts"]["properties"]["vector"] = {
        "type": "knn_vector",
        "dimension": dimension,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    }
    return {"settings": template["settings"] | {"index.knn": True}, "mappings": mappings}


def _actions(index: str, documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    for entry, texts, vectors in documents:
        nested = [{"text": text, "vector": vector} for text, vector in zip(texts, vectors, strict=True)]
        document = {**entry, "texts": nested}
        if "paths" in entry:  # other kinds copy their spellings by the mapping
            document["search_text"] = list(texts)
        yield {"_index": index, "_id": entry["id"], "_source": document}


def _why(error: BulkIndexError) -> str:
    failure = next(iter(error.errors[0].values()))
    reason = failure.get("error", {})
    cause = reason.get("caused_by", reason) if isinstance(reason, dict) else {"reason": reason}
    return f"{failure.get('_id')}: {cause.get('reason')}"
