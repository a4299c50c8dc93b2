"""Searches under load while what stands behind the gateway breaks; `benchmarks.gateway_faults` is the long one."""

from __future__ import annotations

from benchmarks.gateway_faults import BUDGET_MS, fault_load
from csrm_opensearch.testing import OpenSearchNode


def test_no_search_fails_and_no_page_is_wrong(opensearch: OpenSearchNode) -> None:
    outcome = fault_load(opensearch.url, seconds=15.0, every=1.2)
    assert len(outcome.faults) == 11, "each of them"
    assert outcome.failed == []
    assert outcome.wrong == []
    assert outcome.outcomes["reranked"] > 50
    reasons = ("deadline", "breaker-open", "relevance-down", "relevance-garbage", "relevance-refused")
    assert all(outcome.outcomes[f"skipped; reason={reason}"] for reason in reasons)
    assert outcome.slowest_ms < BUDGET_MS + 2_000, "a busy machine has some grace"
