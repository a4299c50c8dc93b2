"""One line of the table, as it stands in the JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """One line of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: str
    precision: str
    products: int
    concurrency: int
    products_per_s: float
    p50_ms: float
    p99_ms: float
    percent_of_peak: float
    kendall_vs_fp32: float
