"""The native road: OpenSearch's own search pipeline calls the relevance service, without a gateway.

What it cannot do is in a table in ``plugin/README.md``.
"""
