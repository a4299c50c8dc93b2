"""Brings the native road into a cluster and takes it back, step by step, each step as often as you like.

The order is what makes an interrupted run harmless: whatever could refuse comes before the first change, the
pipeline changes over to a new model in one step, and what nothing uses any more is deleted last. A further run
finishes what one left half made; ``uninstall`` undoes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opensearchpy import OpenSearch

from csrm_opensearch.cluster import client_errors_named, require_version
from csrm_opensearch.errors import (
    ClusterRefusedError,
    NativeProfileError,
    PipelineConflictError,
    PluginsMissingError,
    SettingsNeededError,
)
from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.road import Road, connector_body, model_body, pipeline_body, same_connector
from csrm_opensearch.native.settings import is_private, needed_settings, settings_taken_back, shown

MINIMUM_VERSION = (2, 19)
"""The first version with the ``ml_inference`` processor as we use it, and the oldest that the tests run."""

PROCESSORS = {
    "rerank": "opensearch-neural-search",
    "ml_inference": "opensearch-ml",
    "script": "search-pipeline-common",
    "truncate_hits": "search-pipeline-common",
}
"""What pipelines are made of, and the plugin or module that brings it."""


def install(
    client: OpenSearch,
    road: Road,
    *,
    key: str | None = None,
    change_settings: bool = False,
    make_default: bool = False,
) -> list[str]:
    """Bring the road into the cluster; a second call changes nothing.

    Args:
        key: sent to the relevance service as bearer token. It cannot be read back, so giving one always makes
            connector and model anew; without one, a key that the cluster has is kept.
        change_settings: also change the cluster's settings, where it needs that.
        make_default: make the pipeline the default of the profile's indices, as far as they exist.

    Returns:
        What was done, a line a step.

    Raises:
        SettingsNeededError: the settings have to change first; nothing was changed.
        PipelineConflictError: pipeline or indices are somebody else's; nothing was changed.
        PluginsMissingError, NativeProfileError, ModelNotReadyError
        UnreachableError, ClusterTooOldError, ClusterRefusedError
    """
    with _our_errors(client, key):
        check_cluster(client)
        if parts.is_administrator(client):
            raise ClusterRefusedError(
                "ml-commons hides the models of the security plugin's administrator from every search: take the "
                "certificate, or the name and password, of a user."
            )
        pipeline = _own_pipeline(client, road.name)
        defaults = _own_defaults(client, road) if make_default else {}
        said = [f"setting {line}" for line in _settings(client, road, change_settings)]
        model_id, made = _model(client, road, key)
        said += [f"connector and model {road.name}: {'made' if made else 'there'}"]
        wanted = pipeline_body(road, model_id)
        if pipeline != wanted:
            client.search_pipeline.put(id=road.name, body=wanted)
        kind = "drop-in" if road.drop_in else "needs ext.rerank.query_context in every search"
        state = "there" if pipeline == wanted else "made" if pipeline is None else "updated"
        said.append(f"search pipeline {road.name} ({kind}): {state}")
        for index, default in defaults.items():
            if default != road.name:
                parts.set_default_pipeline(client, index, road.name)
            said.append(f"default of {index}: {'there' if default == road.name else 'made'}")
        _delete_models(client, road.name, but=model_id)
        return said


def uninstall(client: OpenSearch, name: str) -> list[str]:
    """Take back all that ``install`` brings for the pipeline ``name``, also what one left half made.

    Returns:
        What was done, a line a step; empty where nothing was there.

    Raises:
        PipelineConflictError: the pipeline is somebody else's; nothing was changed.
        PluginsMissingError, UnreachableError, ClusterTooOldError, ClusterRefusedError
    """
    with _our_errors(client, None):
        check_cluster(client)
        pipeline = _own_pipeline(client, name)
        said = []
        if pipeline is not None:  # else an index's default of that name was not ours
            for index, default in sorted(parts.default_pipelines(client).items()):
                if default == name:
                    parts.set_default_pipeline(client, index, None)
                    said.append(f"default of {index}: taken back")
            client.search_pipeline.delete(id=name)
            said.append(f"search pipeline {name}: deleted")
        if parts.connectors_of(client, name) or parts.models_of(client, name):
            _delete_models(client, name, but=None)
            said.append(f"connector and model {name}: deleted")
        for setting in _take_settings_back(client):
            said.append(f"setting {setting}: taken back")
        return said


def check_cluster(client: OpenSearch) -> str:
    """The cluster's version, if every node has all that a pipeline is made of.

    Raises:
        ClusterTooOldError, PluginsMissingError
    """
    version = require_version(client.info(), MINIMUM_VERSION, "search pipelines of ours")
    for node, processors in parts.processors_of(client).items():
        if missing := sorted({PROCESSORS[name] for name in PROCESSORS if name not in processors}):
            raise PluginsMissingError(
                f"Node {node} lacks {', '.join(missing)}: install the plugins on every node and restart it, or "
                "use the gateway (csrm gateway), which needs none."
            )
    return version


def _own_pipeline(client: OpenSearch, name: str) -> dict[str, Any] | None:
    pipeline = parts.pipeline_of(client, name)
    if pipeline is not None and not parts.is_ours(pipeline):
        raise PipelineConflictError(
            f"The cluster has a search pipeline {name} of other origin: rename that one, or the profile."
        )
    return pipeline


def _own_defaults(client: OpenSearch, road: Road) -> dict[str, str | None]:
    """The profile's indices with their default pipelines, none of which is somebody else's."""
    defaults: dict[str, str | None] = dict.fromkeys(
        client.indices.get(index=",".join(road.indices), params={"allow_no_indices": "true"})
    )
    if not defaults:
        raise NativeProfileError(
            f"No index fits {', '.join(road.indices)}: make the indices first, or leave --default out."
        )
    found = parts.default_pipelines(client, ",".join(road.indices))
    foreign = {index: pipeline for index, pipeline in found.items() if pipeline != road.name}
    for index, pipeline in foreign.items():
        raise PipelineConflictError(
            f"Index {index} has the default search pipeline {pipeline}: take it off, or leave --default out."
        )
    return defaults | found


def _settings(client: OpenSearch, road: Road, change: bool) -> list[str]:
    current, defaults = parts.settings_of(client)
    needed = needed_settings(current, defaults, road.url, private=is_private(road.url))
    lines = shown(needed, road.url)
    if needed and not change:
        raise SettingsNeededError(
            f"The cluster's settings do not allow calls to {road.url} yet; these would change: "
            f"{'; '.join(lines)}. Nothing was changed: run the command again with --yes."
        )
    if needed:
        parts.put_settings(client, needed)
    return lines


def _model(client: OpenSearch, road: Road, key: str | None) -> tuple[str, bool]:
    """A model that does what the road wants, and whether it had to be made."""
    connectors = parts.connectors_of(client, road.name)
    if key is None:
        wanted = [connector_body(road, key=None), connector_body(road, key="one that is kept")]
        for model_id, model in parts.models_of(client, road.name).items():
            found = connectors.get(model["connector_id"], {})
            if model["model_state"] == "DEPLOYED" and any(same_connector(body, found) for body in wanted):
                return model_id, False
        if any(found["actions"][0].get("headers") for found in connectors.values()):
            raise NativeProfileError(
                "The connector has to be made anew and its key cannot be read back: set the environment variable "
                "CSRM_RELEVANCE_KEY again, or take the pipeline back first (csrm uninstall pipeline)."
            )
    connector_id = parts.create_connector(client, connector_body(road, key=key))
    return parts.deploy_model(client, model_body(road, connector_id)), True


def _delete_models(client: OpenSearch, name: str, *, but: str | None) -> None:
    models = parts.models_of(client, name)
    used = {models[but]["connector_id"]} if but is not None else set()
    for model_id in models.keys() - {but}:
        parts.delete_model(client, model_id)
    for connector_id in parts.connectors_of(client, name).keys() - used:
        parts.delete_connector(client, connector_id)


def _take_settings_back(client: OpenSearch) -> list[str]:
    current, _ = parts.settings_of(client)
    still_called = [found["actions"][0]["url"] for found in parts.connectors_of(client).values()]
    back = settings_taken_back(current, still_called)
    if back:
        parts.put_settings(client, back)
    return sorted(back)


@contextmanager
def _our_errors(client: OpenSearch, key: str | None) -> Iterator[None]:
    """The client's errors as ours, and never with the key in them."""
    try:
        with client_errors_named(client, right="cluster:admin/opensearch/ml"):
            yield
    except Exception as error:
        if key and key in f"{error}{error.__cause__}":
            raise type(error)(str(error).replace(key, "***")) from None
        raise
