"""What one profile needs in a cluster: the bodies of connector, model and search pipeline. Pure.

The bodies are in ``index_templates/search_pipelines``; a value that is a name after ``$`` is filled in here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from csrm_opensearch.errors import NativeProfileError, ProfileError
from csrm_opensearch.native.paths import Path, document_expression, request_expression, search_path
from csrm_opensearch.profiles import GatewaySettings, Profile
from csrm_opensearch.templates import MANAGED_BY, template_folder

MARK = f"Managed by {MANAGED_BY}"
"""Begins the description of everything of ours in the cluster; what has another one is never touched."""


@dataclass(frozen=True)
class Road:
    """The native road of one profile.

    Attributes:
        name: of the search pipeline, the connector and the model.
        url: of the rerank endpoint, as OpenSearch's nodes reach it.
        budget_ms: milliseconds that the service has for a search.
        model: which of the service's models judges; its first one where null.
        query: where the shopper's text is, or null when every search brings it in ``ext.rerank``.
    """

    name: str
    url: str
    indices: tuple[str, ...]
    text_fields: tuple[str, ...]
    window: int
    budget_ms: float
    locale: str | None = None
    model: str | None = None
    query: Path | None = None

    @property
    def drop_in(self) -> bool:
        """Whether clients need to change nothing."""
        return self.query is not None

    @property
    def timeout_s(self) -> int:
        """Whole seconds, the only unit that a connector knows; 0 would mean no limit."""
        return max(1, math.ceil(self.budget_ms / 1000))


def profile_named(settings: GatewaySettings, name: str | None) -> Profile:
    """The profile of that name; the only one where no name is given.

    Raises:
        ProfileError: there is none, or there are several.
    """
    names = [profile.name for profile in settings.profiles]
    if name is None and len(names) != 1:
        raise ProfileError(f"The settings have {len(names)} profiles: name one of {', '.join(names)}.")
    if name is not None and name not in names:
        raise ProfileError(f"The settings have no profile {name!r}: name one of {', '.join(names)}.")
    return settings.profiles[0 if name is None else names.index(name)]


def road_of(profile: Profile, relevance_url: str) -> Road:
    """The native road of a profile; its threshold and its tail are lost.

    Raises:
        NativeProfileError: the profile or the address does not fit.
    """
    if profile.locale is not None and not isinstance(profile.locale, str):
        raise NativeProfileError(
            f"Profile {profile.name}: locale: a search pipeline has one for all its searches; write one "
            "profile a locale."
        )
    parts = urlsplit(relevance_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise NativeProfileError(
            "This is no URL of a relevance service: write it like https://relevance.example:8000."
        )
    if parts.username is not None or parts.password is not None:
        raise NativeProfileError(
            "The URL of the relevance service carries a password, which the cluster would show to everyone: "
            "take it out, and put a key into the environment variable CSRM_RELEVANCE_KEY."
        )
    return Road(
        name=f"csrm-{profile.name}".lower(),
        url=f"{relevance_url.rstrip('/')}/v2/rerank",
        indices=tuple(profile.indices),
        text_fields=tuple(profile.text_fields),
        window=profile.window,
        budget_ms=profile.time_budget_ms,
        locale=profile.locale,
        model=profile.model,
        query=search_path(profile.query_path) if profile.query_path else None,
    )


def connector_body(road: Road, *, key: str | None) -> dict[str, Any]:
    """The remote connector.

    Args:
        key: sent to the service as bearer token.
    """
    # ${...} is filled by ml-commons, which writes the query as the inside of a JSON text.
    how = {"locale": road.locale, "deadline_ms": road.budget_ms}
    told = json.dumps(how | ({"model": road.model} if road.model else {})).removeprefix("{")
    request = '{"query": "${parameters.query}", "documents": ${parameters.documents}, ' + told
    body = _filled(
        "connector",
        name=road.name,
        mark=MARK,
        key=key or "none",  # a connector must have a credential, needed or not
        timeout_s=road.timeout_s,
        url=road.url,
        request_body=request,
    )
    if not key:
        del body["actions"][0]["headers"]
    return body


def model_body(road: Road, connector_id: str) -> dict[str, Any]:
    """The remote model that is called through the connector."""
    return {
        "name": road.name,
        "description": MARK,
        "function_name": "remote",
        "connector_id": connector_id,
    }


def pipeline_body(road: Road, model_id: str) -> dict[str, Any]:
    """The search pipeline: drop-in where the profile says where the text is, ``rerank`` with ext where not."""
    if road.query is None:
        return _filled(
            "rerank",
            mark=MARK,
            window=road.window,
            model_id=model_id,
            text_fields=list(road.text_fields),
        )
    return _filled(
        "drop_in",
        mark=MARK,
        window=road.window,
        model_id=model_id,
        query=request_expression(road.query),
        documents=document_expression(road.text_fields),
    )


def model_called(pipeline: dict[str, Any]) -> str:
    """The id of the model that a pipeline of ours calls; empty where it calls none."""
    for processor in pipeline.get("response_processors", []):
        for body in processor.values():
            found = body.get("model_id") or body.get("ml_opensearch", {}).get("model_id")
            if found:
                return str(found)
    return ""


def strict(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The pipeline with its failures shown, as a check wants it; a shopper is better off without them."""
    return {
        kind: [
            {name: body | {"ignore_failure": False} if "ignore_failure" in body else body}
            for processor in pipeline[kind]
            for name, body in processor.items()
        ]
        for kind in ("request_processors", "response_processors")
    }


def same_connector(wanted: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a connector of the cluster does what ``wanted`` does; its key cannot be read back."""
    limits: dict[str, Any] = found.get("client_config") or {}
    return bool(
        wanted["actions"] == found.get("actions") and wanted["client_config"].items() <= limits.items()
    )


def _filled(template: str, **values: Any) -> dict[str, Any]:
    def fill(node: Any) -> Any:
        match node:
            case dict():
                return {name: fill(child) for name, child in node.items()}
            case list():
                return [fill(child) for child in node]
            case str() if node.startswith("$") and node[1:] in values:
                return values[node[1:]]
        return node

    file = template_folder() / "search_pipelines" / f"{template}.json"
    filled: dict[str, Any] = fill(json.loads(file.read_bytes()))
    return filled
