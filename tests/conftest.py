"""What all tests share: properties without a clock, less garbage to search, one OpenSearch node a test session."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import settings
from opensearchpy import OpenSearch

from csrm_opensearch.testing import OpenSearchNode, opensearch_node

# Whether a property holds is no matter of how busy the machine is.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")


def pytest_collection_finish() -> None:
    """Modules and test items live as long as the session: what collects garbage, as a model's load does, skips them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearchNode]:
    """The node that every test of the session shares; tests keep apart by ``index_name``."""
    with opensearch_node() as node:
        yield node


@pytest.fixture
def client(opensearch: OpenSearchNode) -> Iterator[OpenSearch]:
    """opensearch-py on the shared node."""
    with OpenSearch(opensearch.url, timeout=60) as client:
        yield client


@pytest.fixture
def index_name(client: OpenSearch) -> Iterator[str]:
    """A name that no other test uses; the indices whose names contain it are deleted afterwards.

    ``shop-{index_name}`` is an index that meets the template of products.
    """
    name = f"test-{uuid4().hex[:12]}"
    yield name
    # One by one and by name: a cluster may refuse to delete by pattern.
    for index in client.indices.get(index=f"*{name}*"):
        client.indices.delete(index=index)
