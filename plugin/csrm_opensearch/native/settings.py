"""Which cluster settings the road needs: the endpoint must be trusted, and a private address allowed. Pure.

Nothing else is needed for a remote model, whatever guides to models inside the cluster say:
``only_run_on_ml_node`` and the memory thresholds do not concern it (``tests/integration/native`` shows it).
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"
PRIVATE = "plugins.ml_commons.connector.private_ip_enabled"
RECORD = "cluster.metadata.csrm_opensearch"
"""Says which of the settings are ours. Set in the same step, so that an interrupted run can be undone too."""


def needed_settings(
    current: dict[str, Any], defaults: dict[str, Any], url: str, *, private: bool
) -> dict[str, Any]:
    """The settings to change, with their new values; empty where all is as it must be.

    Args:
        current: values of the cluster's settings that are set, by name.
        defaults: values of those that are not.
        url: the endpoint.
        private: whether its address is a private one.
    """
    needed: dict[str, Any] = {}
    record = _recorded(current)
    trusted = (defaults | current).get(TRUSTED) or []
    if not is_trusted(trusted, url):
        needed[TRUSTED] = [*trusted, pattern_of(url)]
        record["trusted"] = [*record["trusted"], pattern_of(url)]
        if TRUSTED not in current:
            record["default"] = trusted
    if private and str((defaults | current).get(PRIVATE)).lower() != "true":
        needed[PRIVATE] = record["private"] = True
    if needed:
        needed[RECORD] = json.dumps(record)
    return needed


def settings_taken_back(current: dict[str, Any], still_called: Sequence[str]) -> dict[str, Any]:
    """The changes that undo ``needed_settings``; a null brings the cluster's default back.

    Args:
        current: values of the cluster's settings that are set, by name.
        still_called: the endpoints of connectors of ours that stay.
    """
    record = _recorded(current)
    back: dict[str, Any] = {}
    kept = [pattern for pattern in record["trusted"] if pattern in map(pattern_of, still_called)]
    if gone := [pattern for pattern in record["trusted"] if pattern not in kept]:
        rest = [pattern for pattern in current.get(TRUSTED) or [] if pattern not in gone]
        back[TRUSTED] = None if rest == record["default"] else rest
    if record["private"] and not still_called:
        back[PRIVATE] = None
    if back:
        left = record | {"trusted": kept, "private": record["private"] and bool(still_called)}
        back[RECORD] = json.dumps(left) if kept or left["private"] else None
    return back


def shown(settings: dict[str, Any], url: str) -> list[str]:
    """The needed settings for a reader, a line each; of a list only what is added."""
    lines = {TRUSTED: f"{TRUSTED}: {pattern_of(url)} added", RECORD: f"{RECORD}: the record of these changes"}
    return [lines.get(name, f"{name}: {json.dumps(value)}") for name, value in settings.items()]


def _recorded(current: dict[str, Any]) -> dict[str, Any]:
    """Patterns and flag of ours, and the list of patterns as it was while nobody had set it."""
    record: dict[str, Any] = {"trusted": [], "private": False, "default": None}
    record.update(json.loads(current.get(RECORD) or "{}"))
    return record


def pattern_of(url: str) -> str:
    """The regular expression that trusts the endpoint's origin and nothing else.

    >>> pattern_of("http://10.0.0.7:8000/v2/rerank")
    '^http://10\\\\.0\\\\.0\\\\.7:8000/.*$'
    """
    parts = urlsplit(url)
    return f"^{re.escape(f'{parts.scheme}://{parts.netloc}/')}.*$"


def is_trusted(patterns: Sequence[str], url: str) -> bool:
    """Whether one of the cluster's patterns covers the whole URL. One that only Java can read does not count."""
    for pattern in patterns:
        try:
            if re.fullmatch(pattern, url):
                return True
        except re.error:
            continue
    return False


def is_private(url: str) -> bool:
    """Whether the host has an address that ml-commons calls private, as far as this machine knows.

    A name that only the cluster's nodes can resolve counts as public.
    """
    host = urlsplit(url).hostname or ""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    addresses = [ipaddress.ip_address(address) for address in found]
    return any(address.is_private or address.is_loopback or address.is_link_local for address in addresses)
