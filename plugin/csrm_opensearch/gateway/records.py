"""One search under observation, and what is written of it: a line of JSON in a file, and one in the log.

Knows files; knows no search's inside.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from csrm_opensearch import request_id
from csrm_opensearch.gateway.logs import log_fields, searches_log
from csrm_opensearch.gateway.metrics import Metrics
from csrm_opensearch.profiles import RecordSettings
from csrm_opensearch.search_request import Asked, Search
from csrm_opensearch.status import Status, Variant
from csrm_opensearch.traffic import Side

log = logging.getLogger(__name__)


@dataclass
class Watch:
    """One search from its arrival to what became of it. ``profile`` is a name, empty where there is none."""

    metrics: Metrics
    records: Records
    index: str
    profile: str
    side: Side | None = None
    query: str | None = None
    start: int | None = None
    ubi: dict[str, Any] = field(default_factory=dict)
    opensearch_ms: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def variant(self) -> Variant | None:
        return self.side.variant if self.side else None

    @property
    def took_ms(self) -> float:
        return (time.monotonic() - self.began) * 1000

    def read(self, asked: Asked) -> None:
        """Take note of what was read of the search."""
        self.ubi = asked.ubi
        if isinstance(asked.search, Search):
            self.query, self.start = asked.search.query, asked.search.start

    def told(self, status: Status) -> str:
        """Count and record what became of the search; the value of its ``csrm-status``."""
        took = self.took_ms
        self.metrics.count(self.profile, status, self.variant, took_ms=took, opensearch_ms=self.opensearch_ms)
        self.records.write(self, status, took)
        return status.header(took, self.variant)


class Records:
    """A file with one line a search. Without a place for them, searches go on unrecorded."""

    def __init__(self, settings: RecordSettings) -> None:
        self._query_text = settings.query_text
        self._file: int | None = None
        if settings.file is not None:
            try:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(settings.file, flags, 0o640)
            except OSError as error:
                log.error(
                    "searches are not recorded: %s cannot be written (%s)", settings.file, error.strerror
                )

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, watch: Watch, status: Status, took_ms: float) -> None:
        """One line in one write, so that several processes may share the file."""
        logged = searches_log.isEnabledFor(logging.INFO)
        if self._file is None and not logged:
            return
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": request_id.current(),
            "profile": watch.profile,
            "index": watch.index,
            "outcome": status.kind,
            "reason": status.reason or None,
            "variant": watch.variant,
            "visitor": watch.side.visitor if watch.side else None,
            "from": watch.start,
            "hits": status.hits,
            "window": status.window,
            "removed": status.removed,
            "took_ms": round(took_ms, 1),
            "opensearch_ms": _rounded(watch.opensearch_ms),
            "relevance_ms": _rounded(status.relevance_ms),
            "query_id": watch.ubi.get("query_id"),
            "client_id": watch.ubi.get("client_id"),
        }
        if self._query_text:
            record["query"] = watch.query
        if logged:
            log_fields(searches_log, f"search {status.header(took_ms, watch.variant)}", record)
        if self._file is None:
            return
        try:
            os.write(self._file, msgspec.json.encode(record) + b"\n")
        except OSError as error:
            log.error("a search could not be recorded: %s", error)


def _rounded(time_ms: float | None) -> float | None:
    return None if time_ms is None else round(time_ms, 1)
