"""The parts of the road in a cluster: settings, connectors, models, pipelines; read, made and deleted.

A thin shell over opensearch-py. Knows the REST API of ml-commons; decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from opensearchpy import NotFoundError, OpenSearch, TransportError

from csrm_opensearch.errors import ModelNotReadyError
from csrm_opensearch.native.road import MARK

ML = "/_plugins/_ml"
_DEFAULT_PIPELINE = "index.search.default_pipeline"
_FORGET_TIMEOUT_S = 60.0
_DEPLOY_TIMEOUT_S = 60.0
_FIRST_TIMEOUT_S = 30.0


def settings_of(client: OpenSearch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cluster's settings by dotted name: those that are set, and the defaults of all others."""
    answer = client.cluster.get_settings(params={"flat_settings": "true", "include_defaults": "true"})
    return answer["persistent"] | answer["transient"], answer["defaults"]


def put_settings(client: OpenSearch, settings: dict[str, Any]) -> None:
    """Set them for good; a null takes a setting back."""
    client.cluster.put_settings(body={"persistent": settings})


def processors_of(client: OpenSearch) -> dict[str, set[str]]:
    """The search pipeline processors of each node, by the node's name; those of both kinds together."""
    nodes = client.transport.perform_request("GET", "/_nodes/search_pipelines")["nodes"].values()
    return {
        node["name"]: {
            processor["type"]
            for kind in ("request_processors", "response_processors")
            for processor in node.get("search_pipelines", {}).get(kind, [])
        }
        for node in nodes
    }


def pipeline_of(client: OpenSearch, name: str) -> dict[str, Any] | None:
    """The search pipeline of that name, or None."""
    try:
        found: dict[str, Any] = client.search_pipeline.get(id=name)[name]
    except NotFoundError:
        return None
    return found


def is_ours(part: dict[str, Any]) -> bool:
    """Whether a pipeline, connector or model was made by us."""
    return str(part.get("description", "")).startswith(MARK)


def is_administrator(client: OpenSearch) -> bool:
    """Whether we are the security plugin's administrator (``authcz.admin_dn``), whose models nobody else sees."""
    try:
        return bool(client.transport.perform_request("GET", "/_plugins/_security/whoami")["is_admin"])
    except TransportError:  # no such plugin
        return False


def models_of(client: OpenSearch, name: str) -> dict[str, dict[str, Any]]:
    """Our models of that name, by id."""
    return _ours(client, "models", name)


def connectors_of(client: OpenSearch, name: str | None = None) -> dict[str, dict[str, Any]]:
    """Our connectors, of that name or of every, by id."""
    return _ours(client, "connectors", name)


def create_connector(client: OpenSearch, body: dict[str, Any]) -> str:
    """Create it and return its id. Its key is in the body, which is not logged.

    The first one in a cluster makes ml-commons' own indices, which take their time on a busy node (503).
    """
    deadline = time.monotonic() + _FIRST_TIMEOUT_S
    while True:
        try:
            with _unlogged():
                answer = client.transport.perform_request("POST", f"{ML}/connectors/_create", body=body)
            return str(answer["connector_id"])
        except TransportError as error:
            if error.status_code != 503 or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def deploy_model(client: OpenSearch, body: dict[str, Any]) -> str:
    """Register the model, wait until it is deployed, and return its id.

    Raises:
        ModelNotReadyError: it was not deployed in time.
    """
    answer = client.transport.perform_request(
        "POST", f"{ML}/models/_register", params={"deploy": "true"}, body=body
    )
    deadline = time.monotonic() + _DEPLOY_TIMEOUT_S
    state = ""
    while time.monotonic() < deadline:
        task = client.transport.perform_request("GET", f"{ML}/tasks/{answer['task_id']}")
        if task["state"] == "FAILED":
            raise ModelNotReadyError(f"OpenSearch did not register the model: {task.get('error')}.")
        if "model_id" in task:
            model = client.transport.perform_request("GET", f"{ML}/models/{task['model_id']}")
            state = model["model_state"]
            if state == "DEPLOYED":
                return str(task["model_id"])
        time.sleep(0.1)
    raise ModelNotReadyError(
        f"OpenSearch did not deploy the model in {_DEPLOY_TIMEOUT_S:.0f} s (it is {state.lower() or 'unknown'}): "
        "look into the log of its nodes, then run csrm install pipeline again."
    )


def delete_model(client: OpenSearch, model_id: str) -> None:
    """Undeploy and delete it, and its model group, which ml-commons made for it, unless others are in it."""
    model = client.transport.perform_request("GET", f"{ML}/models/{model_id}")
    client.transport.perform_request("POST", f"{ML}/models/{model_id}/_undeploy")
    client.transport.perform_request("DELETE", f"{ML}/models/{model_id}")
    group = model.get("model_group_id")
    if group and not _hits(client, "models", {"term": {"model_group_id": group}}):
        client.transport.perform_request("DELETE", f"{ML}/model_groups/{group}")


def delete_connector(client: OpenSearch, connector_id: str) -> None:
    """Delete it; no model may use it any more.

    A model that was deleted a moment ago still counts (409) until ml-commons' index is refreshed.
    """
    deadline = time.monotonic() + _FORGET_TIMEOUT_S
    while True:
        try:
            client.transport.perform_request("DELETE", f"{ML}/connectors/{connector_id}")
            return
        except TransportError as error:
            if error.status_code != 409 or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def default_pipelines(client: OpenSearch, index: str = "_all") -> dict[str, str]:
    """The default search pipelines of indices, by index; of those that have one."""
    answer = client.indices.get_settings(
        index=index,
        name=_DEFAULT_PIPELINE,
        params={"flat_settings": "true", "expand_wildcards": "all", "allow_no_indices": "true"},
    )
    found = {name: one["settings"].get(_DEFAULT_PIPELINE, "_none") for name, one in answer.items()}
    return {name: pipeline for name, pipeline in found.items() if pipeline != "_none"}


def set_default_pipeline(client: OpenSearch, index: str, pipeline: str | None) -> None:
    """Make the pipeline the default of an index (or a pattern of them), or leave it without one."""
    client.indices.put_settings(index=index, body={_DEFAULT_PIPELINE: pipeline})


def _ours(client: OpenSearch, kind: str, name: str | None) -> dict[str, dict[str, Any]]:
    query: dict[str, Any] = {"match_all": {}} if name is None else {"term": {"name.keyword": name}}
    found = {}
    for key in [hit["_id"] for hit in _hits(client, kind, query)]:
        # Searching is a moment behind; what is read by its id is as it is now.
        with suppress(NotFoundError):
            found[key] = client.transport.perform_request("GET", f"{ML}/{kind}/{key}")
    return {key: part for key, part in found.items() if is_ours(part)}


def _hits(client: OpenSearch, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        answer = client.transport.perform_request(
            "POST", f"{ML}/{kind}/_search", body={"query": query, "size": 1000}
        )
    except NotFoundError:  # nothing of the kind was ever made in this cluster
        return []
    return list(answer["hits"]["hits"])


@contextmanager
def _unlogged() -> Iterator[None]:
    """The client writes every body into its log, at the level of debugging."""
    loggers = [logging.getLogger(name) for name in ("opensearch", "opensearchpy.trace")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
