"""What the gateway logs, on standard error: a line a request, a line a search, and what went wrong.

Every line of a request bears its id. The shopper's text is in none, nor the query string of a URL, unless the
settings say so (``records.query_text``). Knows log lines; knows no search's inside.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from csrm_opensearch import request_id

LogFormat = Literal["text", "json"]

requests_log = logging.getLogger("csrm.requests")
searches_log = logging.getLogger("csrm.searches")


def set_up(form: LogFormat, level: str) -> None:
    """Log to standard error from now on, the libraries' lines too."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def log_fields(log: logging.Logger, message: str, fields: dict[str, Any]) -> None:
    """An information whose fields are members of the JSON line."""
    log.info(message, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``request``, ``error`` and other fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if called := request_id.current():
            line["request"] = called
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
