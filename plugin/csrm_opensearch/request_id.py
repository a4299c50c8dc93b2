"""What one request is called in the logs of all that work on it: the client's ``X-Opaque-Id``, or one of our own.

OpenSearch gets the client's and no other. Knows the request under way; knows no HTTP.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

HEADER = "X-Opaque-Id"

_current: ContextVar[str | None] = ContextVar("csrm_request_id", default=None)
_FIT = re.compile(r"[!-~]{1,128}")


def begin(given: str | None) -> None:
    """Call the request under way as its client did; one of our own where the client's is none for a header or a log."""
    _current.set(given if given and _FIT.fullmatch(given) else os.urandom(8).hex())


def current() -> str | None:
    """What the request under way is called; null outside of any."""
    return _current.get()
