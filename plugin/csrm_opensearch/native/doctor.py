"""Checks the native road of a profile step by step, from the node to a scored document. Changes nothing.

A step that fails ends the examination, since the later ones need it; it says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch, TransportError

from csrm_opensearch.cluster import client_errors_named, reason_of
from csrm_opensearch.errors import CsrmOpenSearchError
from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.install import check_cluster
from csrm_opensearch.native.paths import search_with
from csrm_opensearch.native.road import (
    Road,
    connector_body,
    model_called,
    pipeline_body,
    same_connector,
    strict,
)
from csrm_opensearch.native.settings import is_private, needed_settings, shown
from csrm_opensearch.product_text import product_text

_AGAIN = "run csrm install pipeline"
_WORDS = 5

_REMEDIES = (
    (r"no permissions for", "give this user the right that is named, or take a user who has it"),
    (r"private ip address", f"{_AGAIN} --yes, which allows private addresses"),
    (r"trusted connector endpoint", f"{_AGAIN} --yes, which trusts the endpoint"),
    (
        r"validity check|certificate.*expired|not ?yet ?valid",
        "renew the certificate of the relevance service: it is not valid today",
    ),
    (
        r"subject alternative|no name matching",
        "the certificate of the relevance service is for other names: call the service by one of them, or add "
        "this one to it",
    ),
    (
        r"connection was closed during the request|connection reset|not an SSL",
        "write https in the URL of the relevance service if it speaks TLS and http if not; else see its log",
    ),
    (
        r"PKIX|certificate|SSL",
        "let the Java of every node trust the authority of the relevance service's certificate, and restart it: "
        "plugin/README.md says how",
    ),
    (
        r"read timed out|timeout|\b504\b",
        "raise the profile's time_budget_ms or give the service more replicas",
    ),
    (r"\b401\b|\b403\b", f"set CSRM_RELEVANCE_KEY to the service's key and {_AGAIN}"),
    (
        r"\bunknown_model\b",
        f"correct the profile's model to one that the service has (GET /v1/models), and {_AGAIN}",
    ),
    (r"\b404\b", "the URL of the relevance service is another program's: correct it"),
    (r"\b429\b|\b503\b", "the relevance service is not ready or overloaded: see its /readyz"),
    (
        r"connection refused|unknown ?host|no route|unreachable|error communicating",
        "start the relevance service, and give an address that the nodes of the cluster reach",
    ),
    (r"eligible node|ml node", "set plugins.ml_commons.only_run_on_ml_node to false, or start an ml node"),
    (
        r"memory circuit breaker|native memory|heap",
        "raise plugins.ml_commons.native_memory_threshold (or jvm_heap_memory_threshold) or the node's memory",
    ),
)
"""What ml-commons says, and what to do. The first that fits counts."""


@dataclass(frozen=True)
class Check:
    """One step of the examination.

    Attributes:
        found: what was found, good or bad.
        remedy: what to do about it; empty when the step is well.
    """

    step: str
    found: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.remedy


def examine(client: OpenSearch, road: Road) -> Iterator[Check]:
    """The steps of the road, until the first that is not well."""
    model_id = ""

    def pipeline() -> Check:
        nonlocal model_id
        found = parts.pipeline_of(client, road.name)
        if found is None:
            return Check("search pipeline", f"{road.name} is not there", _AGAIN)
        if not parts.is_ours(found):
            return Check("search pipeline", f"{road.name} is of other origin", "rename it or the profile")
        model_id = model_called(found)
        if found != pipeline_body(road, model_id):
            return Check("search pipeline", f"{road.name} is not as the profile wants it", _AGAIN)
        indices = [index for index, name in parts.default_pipelines(client).items() if name == road.name]
        used = f"default of {', '.join(sorted(indices))}" if indices else "default of no index"
        return Check("search pipeline", f"{road.name} is there, {used}")

    def settings() -> Check:
        current, defaults = parts.settings_of(client)
        needed = needed_settings(current, defaults, road.url, private=is_private(road.url))
        if needed:
            return Check("settings", f"missing: {'; '.join(shown(needed, road.url))}", f"{_AGAIN} --yes")
        return Check("settings", f"the cluster may call {road.url}")

    def model() -> Check:
        found = parts.models_of(client, road.name).get(model_id)
        if found is None:
            return Check("model", "the one that the pipeline calls is gone", _AGAIN)
        connector = parts.connectors_of(client, road.name).get(found["connector_id"], {})
        if not any(same_connector(connector_body(road, key=key), connector) for key in (None, "any")):
            return Check("model", "its connector is not as the profile wants it", _AGAIN)
        if found["model_state"] != "DEPLOYED":
            return Check("model", f"it is {found['model_state'].lower()}", _AGAIN)
        return Check("model", "deployed")

    def service() -> Check:
        answer = client.transport.perform_request(
            "POST",
            f"{parts.ML}/_predict/text_similarity/{model_id}",
            body={"query_text": "shoes", "text_docs": ["running shoes", "kettle"]},
        )
        scores = [one["data"][0] for one in answer["inference_results"][0]["output"]]
        return Check("relevance service", f"scored 'running shoes' {scores[0]} and 'kettle' {scores[1]}")

    def document() -> Check:
        return _scored_document(client, road, model_id)

    steps: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("cluster", lambda: Check("cluster", f"OpenSearch {check_cluster(client)} with the plugins")),
        ("search pipeline", pipeline),
        ("settings", settings),
        ("model", model),
        ("relevance service", service),
        ("document", document),
    )
    for step, run in steps:
        check = _guarded(client, step, run)
        yield check
        if not check.well:
            return


def remedy_of(status: int | str, reason: str) -> str:
    """What to do about an error of ml-commons.

    Args:
        status: HTTP status of its answer, which is that of the relevance service where that one answered.
        reason: its sentence.
    """
    said = f"{status} {reason}"
    fitting = (remedy for pattern, remedy in _REMEDIES if re.search(pattern, said, re.IGNORECASE))
    return next(fitting, "see the log of the node and of the relevance service")


def _guarded(client: OpenSearch, step: str, run: Callable[[], Check]) -> Check:
    """The step's check, also where it ends in an error."""
    try:
        with client_errors_named(client, right="cluster:admin/opensearch/ml"):
            return run()
    except CsrmOpenSearchError as error:
        cause = error.__cause__
        if step in ("relevance service", "document") and isinstance(cause, TransportError):
            return Check(step, reason_of(cause), remedy_of(cause.status_code, reason_of(cause)))
        found, _, remedy = str(error).partition(": ")
        return Check(step, found, remedy)


def _scored_document(client: OpenSearch, road: Road, model_id: str) -> Check:
    """A search through a strict copy of the pipeline, for the words of a document that is there."""
    body: dict[str, Any] = {"size": 1, "_source": False, "fields": list(road.text_fields)}
    hits = client.search(
        index=",".join(road.indices),
        body=body,
        params={"search_pipeline": "_none", "allow_no_indices": "true"},
    )["hits"]["hits"]
    if not hits:
        return Check("document", f"no document in {', '.join(road.indices)} yet, so none was scored")
    text = product_text(hits[0].get("fields", {}), road.text_fields)
    if not text:
        found = f"document {hits[0]['_id']} has no text in {', '.join(road.text_fields)}"
        return Check("document", found, "correct the profile's text_fields")
    words = " ".join(text.split()[:_WORDS])
    search: dict[str, Any] = {"query": {"ids": {"values": [hits[0]["_id"]]}}}
    if road.query is not None:
        search = search_with(road.query, words)
    else:
        search["ext"] = {"rerank": {"query_context": {"query_text": words}}}
    search["search_pipeline"] = strict(pipeline_body(road, model_id))
    found = client.search(index=hits[0]["_index"], body=search)["hits"]
    if not found["hits"]:
        return Check("document", f"a search for {words!r} found nothing, so nothing was scored")
    return Check("document", f"a search for {words!r} scored {found['hits'][0]['_id']} {found['max_score']}")
