"""The relevance model of CSRM for OpenSearch: judges how well a product answers a shopper's query.

Knows no HTTP, no Ray and no OpenSearch. Importing this package imports neither torch nor ray:
the heavy parts live in its sub-packages.
"""

__version__ = "0.1.0"
