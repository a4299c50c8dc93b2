"""The gateway's fixtures: a shop with junk in it, a service that finds the junk, and the gateway between them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch, helpers

from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.running import running_gateway
from tests.integration.gateway.word_service import WordService, word_service

PREFIX = f"gw-{uuid4().hex[:8]}"
SHOP = f"{PREFIX}-shop"
"""250 phone cases, every third is junk, of which number 7 has no text at all."""
SMALL = f"{PREFIX}-shop-small"
"""As the shop, but nothing beyond place 50 can be asked for."""
FOREIGN = f"{PREFIX}-other"
"""An index without a profile."""


MAPPINGS = {
    "properties": {
        "title": {
            "type": "text",
            "fields": {
                "english": {"type": "text", "analyzer": "english"},
                "complete": {"type": "completion"},
            },
        },
        "brand": {"type": "keyword"},
        "sku": {"type": "text"},
        "price": {"type": "float"},
        "tens": {"type": "integer"},
        "junk": {"type": "boolean"},
        "big": {"type": "object", "enabled": False},
        "variants": {"type": "nested", "properties": {"size": {"type": "keyword"}}},
    }
}


def settings(opensearch_url: str, relevance_url: str, **profile: object) -> GatewaySettings:
    """Settings with one profile on the shops."""
    shop = {"name": "shop", "indices": [f"{PREFIX}-shop*"], "text_fields": ["brand", "title"], "locale": "en"}
    return GatewaySettings.model_validate(
        {
            "opensearch": {"urls": [opensearch_url]},
            "relevance": {"url": relevance_url, "breaker": {"failures": 3, "cooldown_ms": 300}},
            "profiles": [shop | {"time_budget_ms": 5_000} | profile],
        }
    )


def product(number: int) -> dict[str, object]:
    if number == 7:
        return {"sku": "phone case", "price": 7.5}
    words = "junk" if number % 3 == 0 else "good"
    return {
        "title": f"phone case {words} {number}" + " phone" * (number % 5),
        "brand": "Acme" if number % 2 else "Ümit",
        "sku": "phone case",
        "price": number / 2,
        "tens": number // 10,
        "junk": words == "junk",
        "big": 12345678901234567890123,
        "variants": [{"size": "S"}, {"size": "M"}],
    }


@pytest.fixture(scope="session")
def shop(opensearch: OpenSearchNode) -> Iterator[str]:
    """The indices, once a session."""
    with OpenSearch(opensearch.url, timeout=60) as client:
        for name, more in ((SHOP, {}), (SMALL, {"max_result_window": 50}), (FOREIGN, {})):
            index = {"number_of_shards": 1, "number_of_replicas": 0} | more
            client.indices.create(index=name, body={"settings": {"index": index}, "mappings": MAPPINGS})
            rows = ({"_index": name, "_id": str(n)} | product(n) for n in range(250))
            helpers.bulk(client, rows, refresh=True)
        yield SHOP
        client.indices.delete(index=f"{PREFIX}*")


@pytest.fixture(scope="session")
def _service() -> Iterator[WordService]:
    with word_service() as service:
        yield service


@pytest.fixture
def service(_service: WordService) -> WordService:
    _service.reset()
    return _service


@pytest.fixture
def gateway(opensearch: OpenSearchNode, shop: str, service: WordService) -> Iterator[str]:
    """The URL of a gateway that remembers nothing of other tests."""
    with running_gateway(settings(opensearch.url, service.url)) as url:
        yield url
