"""The demo's own index in a real OpenSearch: made anew every time, and never over somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.testing import OpenSearchNode
from demo.errors import ForeignIndexError
from demo.search import connect, index_name, index_shop, search

CASE = {"id": "1", "title": "에어팟 프로 2 케이스 블랙", "brand": "Apple", "category": "케이스", "price": 9.5}
EARBUDS = {"id": "2", "title": "에어팟 프로 2", "brand": "Apple", "category": "이어폰", "price": 249.0}


@pytest.fixture
def locale(client: OpenSearch) -> Iterator[str]:
    """A locale that no other test has, whose index is deleted afterwards."""
    name = f"test-{uuid4().hex[:12]}"
    yield name
    client.indices.delete(index=index_name(name), ignore_unavailable=True)


def put(client: OpenSearch, locale: str, *documents: dict[str, Any]) -> int:
    steps: list[int] = []
    index_shop(client, locale, list(documents), steps.append)
    return sum(steps)


def test_products_are_found_and_a_second_run_replaces_them(opensearch: OpenSearchNode, locale: str) -> None:
    client = connect(opensearch.url)
    assert put(client, locale, CASE, EARBUDS) == 2
    answer = search(client, locale, "에어팟 케이스", 10)
    assert [hit["_id"] for hit in answer.hits] == ["1", "2"]
    assert answer.took_ms > 0
    assert answer.status == ""  # no gateway is in between
    put(client, locale, EARBUDS)
    assert [hit["_id"] for hit in search(client, locale, "에어팟 케이스", 10).hits] == ["2"]


def test_an_index_of_somebody_else_is_left_alone(client: OpenSearch, locale: str) -> None:
    client.index(index=index_name(locale), id="theirs", body={"title": "kept"}, params={"refresh": "true"})
    with pytest.raises(ForeignIndexError, match=index_name(locale)):
        put(client, locale, CASE)
    assert client.exists(index=index_name(locale), id="theirs")
