"""The index templates that we ship: find them, install them into a cluster, compare them with what it has.

Knows opensearch-py and the JSON files; knows no index and no document. A template of ours says so in its
``_meta``, and one that does not is never overwritten unless the caller insists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch

from csrm_opensearch.cluster import client_errors_named, require_version
from csrm_opensearch.errors import TemplateConflictError, TemplateError

MANAGED_BY = "csrm-opensearch"
_NAME_PREFIX = "csrm-"
_SETTINGS = "template.settings."
_RIGHT = "cluster:admin/indices/template"
# The first version with the flat_object field type.
MINIMUM_VERSION = (2, 7)


@dataclass(frozen=True)
class IndexTemplate:
    """A composable index template as shipped.

    Attributes:
        name: its name in the cluster, e.g. ``csrm-products``.
        body: what OpenSearch gets.
    """

    name: str
    body: dict[str, Any]


class State(StrEnum):
    """How a shipped template stands in the cluster."""

    CURRENT = "current"
    MISSING = "missing"
    DRIFTED = "drifted"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Finding:
    """What the cluster has under the name of one shipped template.

    Attributes:
        differences: one line for each value that is not the same, file against cluster.
    """

    name: str
    state: State
    differences: list[str] = field(default_factory=list)


def load_templates() -> list[IndexTemplate]:
    """The shipped templates, by name.

    Raises:
        TemplateError: the installation lacks them.
    """
    return sorted(
        (
            IndexTemplate(
                name=f"{_NAME_PREFIX}{file.name.removesuffix('.json')}", body=json.loads(file.read_bytes())
            )
            for file in template_folder().iterdir()
            if file.name.endswith(".json")
        ),
        key=lambda template: template.name,
    )


def check_templates(client: OpenSearch) -> list[Finding]:
    """Compares every shipped template with the cluster; changes nothing.

    Raises:
        UnreachableError, ClusterTooOldError, ClusterRefusedError
    """
    with client_errors_named(client, right=_RIGHT):
        require_version(client.info(), MINIMUM_VERSION, "the templates")
        installed = _installed(client)
        return [compare(template, installed.get(template.name)) for template in load_templates()]


def install_templates(client: OpenSearch, *, force: bool = False) -> list[Finding]:
    """Brings every shipped template into the cluster; a second call changes nothing.

    Indices that exist already keep their mapping: a template is for those made later.

    Args:
        force: also overwrite templates of our names that are somebody else's.

    Returns:
        What was found before, so ``current`` means that nothing had to be done.

    Raises:
        UnreachableError, ClusterTooOldError, ClusterRefusedError
        TemplateConflictError: a name is taken by a template that is not ours; nothing was installed.
    """
    findings = check_templates(client)
    foreign = [finding.name for finding in findings if finding.state is State.FOREIGN]
    if foreign and not force:
        raise TemplateConflictError(
            f"The cluster has templates of other origin named {', '.join(foreign)}: rename them, or use "
            "--force to overwrite them."
        )
    with client_errors_named(client, right=_RIGHT):
        for template, finding in zip(load_templates(), findings, strict=True):
            if finding.state is not State.CURRENT:
                client.indices.put_index_template(name=template.name, body=template.body)
    return findings


def compare(template: IndexTemplate, installed: dict[str, Any] | None) -> Finding:
    """How ``template`` stands against what the cluster has under its name.

    Args:
        installed: the ``index_template`` object of the cluster's answer, or None when it has none.
    """
    if installed is None:
        return Finding(template.name, State.MISSING)
    differences = _differences(flatten(template.body), flatten(installed))
    if (installed.get("_meta") or {}).get("managed_by") != MANAGED_BY:
        return Finding(template.name, State.FOREIGN, differences)
    return Finding(template.name, State.DRIFTED if differences else State.CURRENT, differences)


def flatten(body: dict[str, Any]) -> dict[str, str]:
    """A template body as path -> JSON text, in the one way of writing that file and cluster share.

    OpenSearch gives settings back nested under ``index`` and as strings, whichever way they were put.

    >>> flatten({"template": {"settings": {"index": {"number_of_shards": "1"}}}})
    {'template.settings.index.number_of_shards': '1'}
    >>> flatten({"template": {"settings": {"number_of_shards": 1}}})
    {'template.settings.index.number_of_shards': '1'}
    """
    flat: dict[str, str] = {}
    for path, value in _leaves(body):
        if path.startswith(_SETTINGS):
            setting = path.removeprefix(_SETTINGS).removeprefix("index.")
            path = f"{_SETTINGS}index.{setting}"
        flat[path] = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        )
    if flat.get("composed_of") == "[]":  # the cluster adds it
        del flat["composed_of"]
    return flat


def _leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if isinstance(child, dict):
            yield from _leaves(child, f"{path}{key}.")
        else:
            yield f"{path}{key}", child


def _differences(file: dict[str, str], cluster: dict[str, str]) -> list[str]:
    return [
        f"{path}: {file.get(path, 'not set')} in the file, {cluster.get(path, 'not set')} in the cluster"
        for path in sorted(file.keys() | cluster.keys())
        if file.get(path) != cluster.get(path)
    ]


def _installed(client: OpenSearch) -> dict[str, dict[str, Any]]:
    # All of them, as asking by a name or pattern that nothing has is answered with an error.
    answer = client.indices.get_index_template()
    return {found["name"]: found["index_template"] for found in answer["index_templates"]}


def template_folder() -> Traversable:
    """Package data in an installed wheel; the repository's own folder in an editable checkout."""
    packaged = resources.files("csrm_opensearch") / "index_templates"
    checkout = Path(__file__).parents[2] / "index_templates"
    for folder in (packaged, checkout):
        if folder.is_dir():
            return folder
    raise TemplateError("The installation lacks its index templates: install csrm-opensearch again.")
