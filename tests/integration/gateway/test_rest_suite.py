"""OpenSearch's own REST tests of searching, directly and through the gateway; `benchmarks.rest_suite` runs them all."""

from __future__ import annotations

from benchmarks.rest_suite import agreeable_gateway, compare
from benchmarks.rest_tests import rest_tests
from csrm_opensearch.testing import opensearch_node
from csrm_opensearch.testing.java import Jdk

FOLDERS = ("msearch", "scroll", "search.highlight", "search.inner_hits", "suggest")


def test_nobody_can_tell_which_is_which(jdk: Jdk) -> None:
    """On a node of their own: they delete every index."""
    with opensearch_node(kind="local") as node, agreeable_gateway(node.url) as gateway:
        report = compare(rest_tests(FOLDERS), node.url, gateway)
    assert report.differing == {}
    assert report.tests > 50
    assert report.passed["direct"] == report.passed["gateway"] > 0.9 * report.tests
    assert report.outcomes["reranked"] >= 8
