"""Reads one search and widens it to the window, leaving every byte it need not touch as the client wrote it.

A body stays a mapping from its top-level members to their raw JSON: only ``from``, ``size``, ``fields`` and
``ext.csrm`` are ever read or replaced. Pure: bytes in, bytes out; knows the search API, no network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Raw

from csrm.wire import Level
from csrm_opensearch.profiles import Profile
from csrm_opensearch.query_text import Skip, shopper_text
from csrm_opensearch.request_options import RequestOptions, read_options

Members = dict[str, Raw]
"""The members of a JSON object, values as the bytes they came in."""

members_decoder = msgspec.json.Decoder(Members)
encode = msgspec.json.encode

_EXTRAS = ("aggs", "aggregations", "suggest", "profile")
"""What a search may ask for beside its hits."""
_ADORNMENTS = (
    *_EXTRAS,
    "highlight",
    "explain",
    "script_fields",
    "docvalue_fields",
    "stored_fields",
    "version",
)


class Params:
    """The parameters of a URL: read as OpenSearch reads them, passed on as the client wrote them."""

    def __init__(self, query_string: bytes) -> None:
        self._pairs = [
            (unquote_plus(pair.partition("=")[0]), unquote_plus(pair.partition("=")[2]), pair)
            for pair in re.split("[&;]", query_string.decode("latin-1"))
            if pair
        ]

    def get(self, name: str) -> str | None:
        """The value of a parameter (the last where it stands twice), or null."""
        return next((value for key, value, _ in reversed(self._pairs) if key == name), None)

    def flag(self, name: str) -> bool:
        """Whether a boolean parameter is on: OpenSearch takes a bare name for true."""
        return self.get(name) not in {None, "false"}

    def without(self, *names: str) -> str:
        """The query string without some parameters."""
        return "&".join(written for key, _, written in self._pairs if key not in names)


@dataclass(frozen=True)
class Search:
    """A search that can be reranked.

    ``start`` and ``size`` are the page asked for; ``by_relevance`` is false where the client sorts by
    something else and only filtering is right; ``added`` are the fields of product text and locale that the
    client did not ask for; ``exact`` is false where a wider search may give another order than the client's
    own, so that OpenSearch's own page cannot be cut from the window; ``shadow``: judge, but change no page.
    """

    members: Members
    profile: Profile
    options: RequestOptions
    query: str
    start: int
    size: int
    window: int
    by_relevance: bool
    added: tuple[str, ...]
    exact: bool
    shadow: bool = False

    @property
    def limit(self) -> int:
        """The most hits that are judged for this search."""
        return max(self.window, self.profile.max_window or 0)

    @property
    def threshold(self) -> float | None:
        return self.profile.threshold if self.options.threshold is None else self.options.threshold

    @property
    def model(self) -> str | None:
        return self.options.model or self.profile.model

    @property
    def level(self) -> Level | None:
        return self.options.level or self.profile.level

    @property
    def deep(self) -> bool:
        """Whether the page begins beyond every window, so that those are needed only to count."""
        return self.start >= self.limit

    @property
    def first_size(self) -> int:
        """How many hits ``window_body`` asks for."""
        return self.window if self.deep else max(self.window, self.start + self.size)

    def window_body(self) -> bytes:
        """The search whose answer holds the window, and the page too where it begins inside of one."""
        return _paged(self._judgeable(()), 0, self.first_size)

    def more_body(self, start: int, size: int) -> bytes:
        """Further hits only: of a further window, or of a page that reaches beyond what is in hand."""
        return _paged(self._judgeable(_EXTRAS) | {"track_total_hits": Raw(b"false")}, start, size)

    def _judgeable(self, without: tuple[str, ...]) -> Members:
        """The client's search with the fields that the model reads."""
        members = {name: value for name, value in self.members.items() if name not in without}
        if self.deep:
            for name in _ADORNMENTS:
                members.pop(name, None)
            members |= {"_source": Raw(b"false"), "track_total_hits": Raw(b"false")}
            if isinstance(collapse := msgspec.json.decode(members.get("collapse", b"null")), dict):
                members["collapse"] = Raw(encode({"field": collapse.get("field")}))  # not its inner hits
        if self.added:
            asked = msgspec.json.decode(members["fields"], type=list[Raw]) if "fields" in members else []
            members["fields"] = Raw(encode([*asked, *self.added]))
        return members

    def page_body(self, start: int, size: int) -> bytes:
        """The client's search at another place of the lexical list."""
        return _paged(dict(self.members), start, size)


@dataclass(frozen=True)
class Asked:
    """What was read of a body: the options, and the search or the reason to leave it alone.

    ``body`` is what OpenSearch gets when the search is left alone: the client's own bytes, or, where it named
    options, the same without them. ``ubi`` is ``ext.ubi``, what User Behavior Insights knows of the search.
    """

    body: bytes
    search: Search | Skip
    options: RequestOptions | None = None
    ubi: dict[str, Any] = field(default_factory=dict)

    @property
    def in_test(self) -> bool:
        """Whether the search is one of the A/B test: it can be reranked, and does not itself say whether to."""
        return isinstance(self.search, Search) and (self.options is None or self.options.mode is None)


def read_search(body: bytes, params: Params, profile: Profile) -> Asked:
    """Read a search on an index with a profile.

    Args:
        body: the JSON body, not compressed; empty where the search is all in the URL.
        params: of the URL.
        profile: of the index.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
    """
    try:
        members = members_decoder.decode(body) if body.strip() else {}
        options = take_options(members)
        stripped = body if options is None else encode(members)
        decoded: Any = msgspec.json.decode(stripped) if stripped.strip() else {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Asked(body, Skip("body-not-json"))
    search = _plan(members, decoded, params, profile, options or RequestOptions())
    ext = decoded.get("ext")
    ubi = ext.get("ubi") if isinstance(ext, dict) else None
    return Asked(stripped, search, options, ubi if isinstance(ubi, dict) else {})


def take_options(members: Members) -> RequestOptions | None:
    """Take ``ext.csrm`` out of a body's members and read it; null where the body has none.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
        msgspec.MsgspecError: ``ext`` is not an object.
    """
    if "ext" not in members or b"csrm" not in bytes(members["ext"]):
        return None
    ext = members_decoder.decode(members["ext"])
    if "csrm" not in ext:
        return None
    options = read_options(bytes(ext.pop("csrm")))
    if ext:
        members["ext"] = Raw(encode(ext))
    else:
        del members["ext"]
    return options


def without_options(body: bytes) -> bytes | None:
    """A search body without its ``ext.csrm``; null where it has none, or is not JSON.

    Raises:
        RequestOptionsError: ``ext.csrm`` is wrong.
    """
    if b'"csrm"' not in body:
        return None
    try:
        members = members_decoder.decode(body)
        return encode(members) if take_options(members) is not None else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _plan(
    members: Members, body: dict[str, Any], params: Params, profile: Profile, options: RequestOptions
) -> Search | Skip:
    mode = options.mode or profile.mode
    if mode == "off":
        return Skip("off")
    for name in ("scroll", "source", "filter_path"):
        if params.get(name) is not None:
            return Skip(name.replace("_", "-"))
    if params.get("format") not in {None, "json"}:
        return Skip("format")
    for name in ("search_after", "pit", "slice"):
        if body.get(name) is not None:
            return Skip(name.replace("_", "-"))
    start, size = _whole("from", params, body, 0), _whole("size", params, body, 10)
    if start is None or size is None:
        return Skip("from-size")
    if size == 0:
        return Skip("size-0")
    query = options.query or shopper_text(
        body, q=params.get("q"), query_path=profile.query_path, query_fields=profile.query_fields
    )
    if isinstance(query, Skip):
        return query
    added = _fields_to_add(body, params, profile)
    if isinstance(added, Skip):
        return added
    window = options.window or profile.window
    hybrid, paged = _hybrid(body.get("query"))
    if hybrid and not paged and start + size > window:
        return Skip("hybrid-depth")
    return Search(
        members=members,
        profile=profile,
        options=options,
        query=query,
        start=start,
        size=size,
        window=window,
        by_relevance=_by_score(params.get("sort") or body.get("sort")),
        added=added,
        shadow=mode == "shadow",
        exact=(paged or not hybrid)
        and "search_pipeline" not in body
        and params.get("search_pipeline") is None,
    )


def _whole(name: str, params: Params, body: dict[str, Any], default: int) -> int | None:
    """``from`` or ``size``; the parameter stands above the body. Null: OpenSearch has to complain of either."""
    parameter = params.get(name)
    given = [body[name]] if name in body else []
    given += [parameter] if parameter is not None else []
    read = [_number(value) for value in given]
    return None if None in read else [default, *read][-1]


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _by_score(sort: object) -> bool:
    """Whether the client leaves the order to OpenSearch's score."""
    if not sort:
        return True
    first = sort[0] if isinstance(sort, list) else sort
    if isinstance(first, str):
        return first.split(",")[0].strip() in {"_score", "_score:desc"}
    if isinstance(first, dict) and list(first)[:1] == ["_score"]:
        how = first["_score"]
        return bool((how.get("order", "desc") if isinstance(how, dict) else how) == "desc")
    return False


def _hybrid(query: object) -> tuple[bool, bool]:
    """Whether a query is a hybrid one, and whether its order is the same whatever its size.

    That takes ``pagination_depth``, without which OpenSearch pages no hybrid search.
    """
    hybrid = query.get("hybrid") if isinstance(query, dict) else None
    return hybrid is not None, isinstance(hybrid, dict) and "pagination_depth" in hybrid


def _keys(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _fields_to_add(body: dict[str, Any], params: Params, profile: Profile) -> tuple[str, ...] | Skip:
    """The profile's fields that the client did not ask for itself.

    ``stored_fields``, ``script_fields`` and wildcards of ``docvalue_fields`` write into the same place of a
    hit and may hide the product's text there: such a search is left alone.
    """
    fields = body.get("fields", [])
    docvalues = _listed(body.get("docvalue_fields"), params.get("docvalue_fields"))
    others = [
        *_listed(body.get("stored_fields"), params.get("stored_fields")),
        *_keys(body.get("script_fields")),
    ]
    if not isinstance(fields, list):
        return Skip("field-conflict")
    collapse = body.get("collapse") or {}
    if not isinstance(collapse, dict) or not isinstance(collapse.get("field", ""), str):
        return Skip("field-conflict")
    for wanted in profile.fetched_fields:
        if any(_matches(name, wanted) for name in others) or any(
            "*" in name and _matches(name, wanted) for name in docvalues
        ):
            return Skip("field-conflict")
    asked = [*_listed(fields), *docvalues, *_listed(collapse)]  # a collapsed hit shows its field's value
    return tuple(
        field for field in profile.fetched_fields if not any(_matches(name, field) for name in asked)
    )


def _listed(*values: object) -> list[str]:
    """Field names of ``"a,b"``, ``["a", {"field": "b"}]`` or null."""
    names: list[str] = []
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            name = item.get("field") if isinstance(item, dict) else item
            if isinstance(name, str):
                names += [part.strip() for part in name.split(",")]
    return names


def _matches(pattern: str, field: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), field))


def _paged(members: Members, start: int, size: int) -> bytes:
    return encode(members | {"from": Raw(encode(start)), "size": Raw(encode(size))})
