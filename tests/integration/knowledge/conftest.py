"""A real node with k-NN and neural-search, once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.testing import OpenSearchNode, opensearch_node


@pytest.fixture(scope="session")
def knn_node() -> Iterator[OpenSearchNode]:
    """Plugins included; the shared node of the tests has none."""
    with opensearch_node(plugins=True) as node:
        yield node


@pytest.fixture
def knn(knn_node: OpenSearchNode) -> Iterator[OpenSearch]:
    """opensearch-py on it; what is published is taken away afterwards."""
    with OpenSearch(knn_node.url, timeout=60) as client:
        yield client
        for index in client.indices.get(index="csrm-knowledge-*"):
            client.indices.delete(index=index)
