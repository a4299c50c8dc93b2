"""The drop-in before OpenSearch: everything passes through; searches it can read come back better."""

from csrm_opensearch.gateway.app import Gateway
from csrm_opensearch.gateway.server import serve

__all__ = ["Gateway", "serve"]
