"""Which searches take part in an A/B test, and on which side: by a stable hash of who searches. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from csrm_opensearch.profiles import Profile
from csrm_opensearch.query_text import Skip
from csrm_opensearch.search_request import Asked, Search
from csrm_opensearch.status import Variant


@dataclass(frozen=True, slots=True)
class Side:
    """Where a search is in the A/B test; ``visitor`` tells visitors apart and does not say who they are."""

    variant: Variant
    visitor: str


def admit(
    asked: Asked, profile: Profile, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[Search | Skip, Side | None]:
    """A search as it was read, or why it is left alone; and the side of the A/B test that it is on."""
    if profile.traffic is None or not asked.in_test:
        return asked.search, None
    visitor = visitor_of(profile.traffic.by, headers, asked.ubi)
    if visitor is None:
        return Skip("no-visitor"), None
    side = Side(
        variant_of(profile.name, visitor, profile.traffic.share),
        hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )
    return Skip("control") if side.variant == "control" else asked.search, side


def variant_of(test: str, visitor: str, share: float) -> Variant:
    """The side of a visitor: the same for good, and independent of other tests.

    Args:
        test: name of the test; another name draws the sides anew.
        visitor: who searches.
        share: of the visitors, 0 to 1, whose searches are reranked.
    """
    digest = hashlib.sha256(f"{test}\0{visitor}".encode("utf-8", "surrogatepass")).digest()
    return "treatment" if int.from_bytes(digest[:8]) < share * 2**64 else "control"


def visitor_of(by: str, headers: Iterable[tuple[bytes, bytes]], ubi: Mapping[str, object]) -> str | None:
    """Who searches, or null where the search does not say.

    Args:
        by: ``header:NAME``, ``cookie:NAME``, or ``ubi`` for ``ext.ubi.client_id``.
        headers: of the request, names in lower case.
        ubi: the search's ``ext.ubi``.
    """
    kind, _, name = by.partition(":")
    if kind == "ubi":
        client = ubi.get("client_id")
        return client if isinstance(client, str) and client else None
    wanted = name.lower().encode() if kind == "header" else b"cookie"
    for key, value in headers:
        if key == wanted:
            text = value.decode("latin-1")
            found = text if kind == "header" else _cookie(text, name)
            if found:
                return found
    return None


def _cookie(text: str, name: str) -> str:
    try:
        morsel = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
