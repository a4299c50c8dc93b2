"""Fixtures of the integration tests; the shared node and its client are in tests/conftest.py."""

from __future__ import annotations

import pytest

from csrm_opensearch.testing.errors import NodeError
from csrm_opensearch.testing.java import Jdk, find_jdk, find_maven


@pytest.fixture
def jdk() -> Jdk:
    """A JDK with Maven; a machine that gets its nodes in another way need not have them."""
    try:
        find_maven()
        return find_jdk()
    except NodeError as error:
        pytest.skip(str(error))
