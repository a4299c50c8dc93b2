"""What became of a search: the header ``csrm-status``, and what metrics and records say of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["reranked", "shadow", "skipped"]
Variant = Literal["treatment", "control"]


@dataclass(frozen=True, slots=True)
class Status:
    """``reason`` is why a search was skipped; the figures are those of a search that was judged.

    ``relevance_ms`` is the time spent waiting for judgments; null where nothing was asked. ``hits`` is how many
    the page has; null where it was passed through unread. ``scored`` is how many products of the window were judged,
    where that is not all of those with text.
    """

    kind: Kind
    reason: str = ""
    window: int = 0
    removed: int = 0
    relevance_ms: float | None = None
    hits: int | None = None
    scored: int | None = None

    def as_shadow(self) -> Status:
        """The same for a search whose page was not changed."""
        return replace(self, kind="shadow") if self.kind == "reranked" else self

    def header(self, took_ms: float, variant: Variant | None = None) -> str:
        """The value of ``csrm-status``."""
        match self.kind:
            case "reranked":
                text = f"reranked; window={self.window}; removed={self.removed}; took={took_ms:.0f}"
                if self.scored is not None:
                    text += f"; scored={self.scored}/{self.window}"
            case "shadow":
                text = "shadow"
            case _:
                text = f"skipped; reason={self.reason}"
        return f"{text}; variant={variant}" if variant else text


def skipped(reason: str, hits: int | None = None) -> Status:
    """The status of a search that was left as it is."""
    return Status("skipped", reason, hits=hits)
