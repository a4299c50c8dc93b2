"""OpenSearch's answer to a search: read without touching what need not change, written again as another page.

Hits, aggregations and numbers stay the bytes OpenSearch wrote; only ``hits.hits``, ``hits.total``,
``hits.max_score`` and the fields that were added for us change. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from csrm_opensearch.product_text import without_fields
from csrm_opensearch.search_request import Members, encode, members_decoder

_list_decoder = msgspec.json.Decoder(list[Raw])
_suggest_decoder = msgspec.json.Decoder(dict[str, list[dict[str, Raw]]])
_options_decoder = msgspec.json.Decoder(list[dict[str, Raw]])
_fields_decoder = msgspec.json.Decoder(dict[str, object])
_NULL = Raw(b"null")


@dataclass(frozen=True)
class Hit:
    """One hit: its members as written, and its ``fields`` decoded."""

    raw: Raw
    members: Members
    fields: dict[str, object]

    @property
    def score(self) -> Raw:
        return self.members.get("_score", _NULL)

    def text(self, name: str) -> str | None:
        """A member that is a text, such as ``_id`` or ``_index``; null where the hit has none."""
        value = msgspec.json.decode(self.members.get(name, _NULL))
        return value if isinstance(value, str) else None

    def written(self, added: Sequence[str], notes: dict[str, Any] | None = None) -> Raw:
        """The hit without the fields ``added`` for us, and with ``notes`` as ``_csrm``."""
        if not notes and not (added and self.fields):
            return self.raw
        members: dict[str, Any] = _without_added(self.members, added)
        if notes:
            members["_csrm"] = notes
        return Raw(encode(members))


@dataclass(frozen=True)
class SearchAnswer:
    """A search answer taken apart: its members, the members of its ``hits``, and the hits."""

    members: Members
    around: Members
    hits: list[Hit]

    @property
    def shards_failed(self) -> bool:
        shards = msgspec.json.decode(self.members.get("_shards", _NULL))
        return isinstance(shards, dict) and bool(shards.get("failed"))

    def own_page(
        self, start: int, size: int, added: Sequence[str], notes: dict[str, Any] | None = None
    ) -> bytes:
        """The page as OpenSearch itself gives it, cut from an answer that begins at rank 0."""
        return self.page([hit.written(added) for hit in self.hits[start : start + size]], added, notes)

    def page(
        self,
        hits: Sequence[Raw],
        added: Sequence[str] = (),
        notes: dict[str, Any] | None = None,
        **around: Raw,
    ) -> bytes:
        """The answer with other hits, and without the fields ``added`` for us in suggested products.

        ``around`` replaces members of ``hits`` that the answer has.
        """
        changed = {name: value for name, value in around.items() if name in self.around}
        members: dict[str, Any] = {**self.members, "hits": {**self.around, **changed, "hits": hits}}
        if added and "suggest" in members:
            members["suggest"] = _suggested(members["suggest"], added)
        return encode(members | ({"csrm": notes} if notes else {}))


def read_answer(body: bytes | Raw) -> SearchAnswer | None:
    """Read a search answer; null where it is not one."""
    try:
        members = members_decoder.decode(body)
        around = members_decoder.decode(members["hits"])
        hits = [_hit(raw) for raw in _list_decoder.decode(around["hits"])]
    except (msgspec.MsgspecError, KeyError, UnicodeError, RecursionError):
        return None
    return SearchAnswer(members, around, hits)


def pretty(answer: bytes) -> bytes:
    """An answer as ``?pretty`` has it: a blank on both sides of a colon and inside of what is empty, a last newline."""
    lines = msgspec.json.format(answer, indent=2)
    return _EMPTY.sub(rb"\1[ ]", _EMPTY_OBJECT.sub(rb"\1{ }", _COLON.sub(rb"\1 :", lines))) + b"\n"


# Strings hold no newline, so that what a line begins and ends with is outside of them, but for a string itself.
_COLON = re.compile(rb'^( *"(?:[^"\\]|\\.)*"):', re.MULTILINE)
_EMPTY = re.compile(rb"^( *(?:\".*\" : )?)\[\](?=,?$)", re.MULTILINE)
_EMPTY_OBJECT = re.compile(rb"^( *(?:\".*\" : )?)\{\}(?=,?$)", re.MULTILINE)


def _hit(raw: Raw) -> Hit:
    members = members_decoder.decode(raw)
    return Hit(raw, members, _fields_decoder.decode(members["fields"]) if "fields" in members else {})


def _without_added(members: Members, added: Sequence[str]) -> dict[str, Any]:
    """The members of a hit without the fields ``added`` for us."""
    left: dict[str, Any] = dict(members)
    if added and "fields" in left:
        fields = _fields_decoder.decode(left["fields"])
        without_fields(fields, added)
        if fields:
            left["fields"] = fields
        else:
            del left["fields"]
    return left


def _suggested(suggest: Raw, added: Sequence[str]) -> dict[str, Any] | Raw:
    """Suggestions without the fields ``added`` for us: a completion suggester's options are hits, too."""
    if b'"fields"' not in bytes(suggest):
        return suggest
    found: dict[str, list[dict[str, Any]]] = _suggest_decoder.decode(suggest)
    for entries in found.values():
        for entry in entries:
            options = _options_decoder.decode(entry["options"])
            entry["options"] = [_without_added(option, added) for option in options]
    return found


def fewer(total: Raw, removed: int, known: int) -> Raw:
    """``hits.total`` after ``removed`` products went, with its relation; ``known`` hits stay for certain.

    A total that is only a lower bound (``gte``) stays a true one that is no higher than before.
    An exact one just shrinks. Handles the plain number of ``rest_total_hits_as_int`` (-1: not tracked) too.
    """
    value = msgspec.json.decode(total)
    if isinstance(value, int) and value >= 0:
        return Raw(encode(max(0, value - removed)))
    if isinstance(value, dict) and isinstance(value.get("value"), int):
        count = value["value"] - removed
        if value.get("relation") == "gte":
            count = max(count, min(value["value"], known))
        return Raw(encode({**value, "value": max(0, count)}))
    return total


def exactly(total: Raw, count: int) -> Raw:
    """``hits.total`` of a list that ends after ``count`` products."""
    value = msgspec.json.decode(total)
    if isinstance(value, dict):
        return Raw(encode({**value, "value": count, "relation": "eq"}))
    return Raw(encode(count)) if isinstance(value, int) and value >= 0 else total


def highest_score(hits: Sequence[Hit], otherwise: Raw) -> Raw:
    """The highest ``_score`` of some hits, as OpenSearch wrote it; ``otherwise`` where none has one."""
    scored = [
        (score, hit.score) for hit in hits if isinstance(score := msgspec.json.decode(hit.score), int | float)
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else otherwise
