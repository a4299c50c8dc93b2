"""What a search may say outright to the gateway: ``ext.csrm`` of its body. Never reaches OpenSearch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from csrm.wire import MAX_PRODUCTS, MAX_QUERY_CHARS, Level, Locale, ModelName
from csrm_opensearch.errors import RequestOptionsError


class RequestOptions(BaseModel):
    """``{"ext": {"csrm": {...}}}``; each field stands above the profile's for this one search."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["on", "shadow", "off"] | None = None
    explain: bool = False
    threshold: float | None = Field(default=None, ge=0, le=1)
    window: int | None = Field(default=None, ge=1, le=MAX_PRODUCTS)
    query: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
        | None
    ) = None
    locale: Locale | None = None
    model: ModelName | None = None
    level: Level | None = None


def read_options(json: bytes) -> RequestOptions:
    """Read the JSON value of ``ext.csrm``.

    Raises:
        RequestOptionsError: names the wrong field, ``ext.csrm.threshold: ...``.
    """
    try:
        return RequestOptions.model_validate_json(json)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["ext.csrm", *(str(part) for part in first["loc"])])
        known = ", ".join(RequestOptions.model_fields)
        what = f"no such field, there are {known}" if first["type"] == "extra_forbidden" else first["msg"]
        raise RequestOptionsError(f"{field}: {what[:1].lower()}{what[1:]}.") from error
