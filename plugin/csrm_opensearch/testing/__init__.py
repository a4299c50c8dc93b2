"""OpenSearch nodes for development, the demo and the tests: not needed, and not imported, in production."""

from csrm_opensearch.testing.errors import NodeError
from csrm_opensearch.testing.node import OpenSearchNode, opensearch_node

__all__ = ["NodeError", "OpenSearchNode", "opensearch_node"]
