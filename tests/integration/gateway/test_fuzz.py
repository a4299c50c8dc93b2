"""Random and mutated bodies against the reader and the gateway; `benchmarks.gateway_fuzz` sends as many as you like."""

from __future__ import annotations

from benchmarks.gateway_fuzz import fuzz
from csrm_opensearch.testing import OpenSearchNode


def test_whatever_is_sent_opensearch_answers(opensearch: OpenSearchNode) -> None:
    reader, gateway = fuzz(opensearch.url, 2_000, seed=7)
    assert reader.faults == []
    assert {"read", "refused", "body-not-json", "ambiguous-query", "from-size"} <= set(reader.outcomes)
    assert gateway.faults == []
    assert gateway.outcomes["200 of OpenSearch's"] > 200
    assert gateway.outcomes["400 to what is said to the gateway"] > 20
