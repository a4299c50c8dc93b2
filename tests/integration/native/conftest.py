"""A real node with ml-commons and neural-search, once a session, and a relevance service for it to call."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch, helpers

from csrm_opensearch.native.cluster_parts import models_of, pipeline_of
from csrm_opensearch.native.install import uninstall
from csrm_opensearch.native.road import Road, road_of
from csrm_opensearch.profiles import Profile
from csrm_opensearch.testing import NodeError, OpenSearchNode, opensearch_node
from csrm_opensearch.testing.java import find_jdk, find_maven
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES
from tests.integration.native.serving import Serving, serving

PRODUCTS = [
    # Lexical search puts the short texts first; by the words of "phone case" the last three are the best.
    {"title": "phone", "brand": "phone", "price": 1},
    {"title": "phone phone", "brand": "phone", "price": 2},
    {"title": "case", "brand": "case", "price": 3},
    {"title": "case case", "brand": "case", "price": 4},
    {"title": "a very long name for a plain and simple phone case in red", "brand": "Acme", "price": 9},
    {"title": "a very long name for a plain and simple phone case in blue", "brand": "Acme", "price": 8},
    {"title": "a very long name for a plain and simple phone case in green", "price": 7},
]
BEST = {"4", "5", "6"}
SEARCH: dict[str, Any] = {"query": {"multi_match": {"query": "phone case", "fields": ["title", "brand"]}}}


NEWEST = list(RELEASES)[-1]


def filter_plugin(version: str, folder: Path) -> Path:
    """Build ``plugin/java`` for a version of OpenSearch, in a folder of its own."""
    source = folder / "java"
    shutil.copytree(Path(__file__).parents[3] / "plugin" / "java", source)
    java_home = {"JAVA_HOME": str(find_jdk(RELEASES[version].java).home)}
    built = subprocess.run(
        [find_maven(), "-q", "-B", "-f", source / "pom.xml", f"-Dopensearch.version={version}", "package"],
        env=os.environ | java_home,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout
    return source / "target" / f"csrm-filter-{version}.zip"


@pytest.fixture(scope="session")
def plugin_node(_service: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchNode]:
    """A local node: the service has to be within its reach, which a container's or a far one's is not."""
    yield from _node(OPENSEARCH_VERSION, True, _service, tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def newest_node(_service: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchNode]:
    """The newest OpenSearch that can be had, which is without the plugins of others."""
    yield from _node(NEWEST, False, _service, tmp_path_factory.mktemp("newest"))


def _node(version: str, plugins: bool, service: Serving, folder: Path) -> Iterator[OpenSearchNode]:
    try:
        find_jdk(RELEASES[version].java)
        find_maven()
    except NodeError as error:
        pytest.skip(str(error))
    with opensearch_node(
        plugins=plugins,
        version=version,
        kind="local",
        timeout_s=300,
        plugin_zips=[filter_plugin(version, folder)],
        settings={"csrm.relevance.url": service.url},
    ) as node:
        assert node.version == version
        yield node


@pytest.fixture
def client(plugin_node: OpenSearchNode) -> Iterator[OpenSearch]:
    with OpenSearch(plugin_node.url, timeout=60, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def _service() -> Iterator[Serving]:
    with serving() as service:
        yield service


@pytest.fixture
def service(_service: Serving) -> Serving:
    _service.reset()
    return _service


@pytest.fixture(scope="session")
def _shop(plugin_node: OpenSearchNode) -> str:
    return shop_on(plugin_node)


def shop_on(node: OpenSearchNode) -> str:
    """An index with the products, by the name of their place in the list."""
    index = f"native-{uuid4().hex[:8]}"
    settings = {"index": {"number_of_shards": 1, "number_of_replicas": 0}}
    with OpenSearch(node.url, timeout=60) as client:
        client.indices.create(index=index, body={"settings": settings})
        rows = ({"_index": index, "_id": str(n)} | product for n, product in enumerate(PRODUCTS))
        helpers.bulk(client, rows, refresh=True)
    return index


@pytest.fixture
def profile(_shop: str) -> Profile:
    """Of the shop, for a pipeline that clients need not know of."""
    return Profile(
        name=f"p{uuid4().hex[:8]}",
        indices=[_shop],
        text_fields=["brand", "title"],
        locale="ko",
        window=50,
        time_budget_ms=1_500,
        query_path="/query/multi_match/query",
    )


@pytest.fixture
def road(client: OpenSearch, profile: Profile, service: Serving) -> Iterator[Road]:
    """The profile's road; what a test installs of it is taken back."""
    road = road_of(profile, service.url)
    yield road
    pipeline = pipeline_of(client, road.name)
    if pipeline is not None and "csrm" not in str(pipeline.get("description")):
        client.search_pipeline.delete(id=road.name)
    uninstall(client, road.name)
    assert models_of(client, road.name) == {}


def hits(answer: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]
