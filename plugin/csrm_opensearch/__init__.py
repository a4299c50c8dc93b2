"""The OpenSearch side of CSRM: gateway, client, profiles, window rules, templates. Knows no model and no Ray."""

from __future__ import annotations

from typing import Any

__all__ = ["AsyncRerankingClient", "RerankingClient"]


def __getattr__(name: str) -> Any:
    """The clients, imported when they are asked for: the command line starts without opensearch-py."""
    if name in __all__:
        from csrm_opensearch import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
