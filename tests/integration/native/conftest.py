"""A real node with ml-commons and neural-search, once a session, and a relevance service for it to call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from opensearchpy import OpenSearch, helpers

from csrm_cli.main import run
from csrm_opensearch.native.cluster_parts import models_of, pipeline_of
from csrm_opensearch.native.install import uninstall
from csrm_opensearch.native.road import Road, road_of
from csrm_opensearch.profiles import Profile
from csrm_opensearch.testing import NodeError, OpenSearchNode, opensearch_node
from csrm_opensearch.testing.java import find_jdk, find_maven
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES
from tests.integration.authority import TRUST_STORE_PASSWORD, Authority
from tests.integration.gateway.running import Wire
from tests.integration.native.serving import API_KEY, Serving, serving

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a session also builds plugins and starts nodes, which takes its time on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


BuildPlugin = Callable[[str], Path]


@pytest.fixture(scope="session")
def filter_plugin(tmp_path_factory: pytest.TempPathFactory) -> BuildPlugin:
    """Builds ``plugin/java`` for a version of OpenSearch, once a session."""

    @cache
    def built(version: str) -> Path:
        source = tmp_path_factory.mktemp("plugin") / "java"
        shutil.copytree(Path(__file__).parents[3] / "plugin" / "java", source)
        java_home = {"JAVA_HOME": str(find_jdk(RELEASES[version].java).home)}
        maven = subprocess.run(
            [
                find_maven(),
                "-q",
                "-B",
                "-f",
                source / "pom.xml",
                f"-Dopensearch.version={version}",
                "package",
            ],
            env=os.environ | java_home,
            capture_output=True,
            text=True,
        )
        assert maven.returncode == 0, maven.stdout
        return source / "target" / f"csrm-filter-{version}.zip"

    return built


class Door:
    """The relevance service behind TLS; what it shows who it is with can be changed."""

    def __init__(self, service: Serving, authority: Authority) -> None:
        self._authority = authority
        self._tls = authority.server_context("service")
        self._tls.num_tickets = 0  # else a session that is taken up again shows no certificate
        self.wire = Wire(service.url, self._tls)

    def show(self, certificate: tuple[Path, Path]) -> None:
        """Show another certificate from now on; connections that were kept are cut."""
        self._tls.load_cert_chain(*certificate)
        self.wire.cut()
        time.sleep(0.3)  # until the nodes notice
        self.wire.mend()

    def show_again(self) -> None:
        """Show one that is well."""
        self.show(self._authority.certificate("service"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that the Java of the nodes trusts."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def door(_service: Serving, authority: Authority) -> Iterator[Door]:
    """Where the plugin in the nodes calls."""
    door = Door(_service, authority)
    yield door
    door.wire.close()


ShowFault = Callable[[str], None]


@pytest.fixture
def show_fault(door: Door, authority: Authority, tmp_path: Path) -> Iterator[ShowFault]:
    """Lets the service show a certificate of an unknown authority, for another name, or out of date."""
    strangers = Authority(tmp_path, "an authority that the nodes do not know")
    certificates = {
        "authority": lambda: strangers.certificate("service"),
        "name": lambda: authority.certificate("other", address="127.0.0.2"),
        "date": lambda: authority.certificate("old", days=-1),
    }
    yield lambda fault: door.show(certificates[fault]())
    door.show_again()


@pytest.fixture(scope="session")
def plugin_node(door: Door, authority: Authority, filter_plugin: BuildPlugin) -> Iterator[OpenSearchNode]:
    """A local node: the service has to be within its reach, which a container's or a far one's is not."""
    yield from _node(OPENSEARCH_VERSION, True, door, authority, filter_plugin)


@pytest.fixture(scope="session")
def newest_node(door: Door, authority: Authority, filter_plugin: BuildPlugin) -> Iterator[OpenSearchNode]:
    """The newest OpenSearch that can be had, which is without the plugins of others."""
    yield from _node(NEWEST, False, door, authority, filter_plugin)


def _node(
    version: str, plugins: bool, door: Door, authority: Authority, filter_plugin: BuildPlugin
) -> Iterator[OpenSearchNode]:
    try:
        jdk = find_jdk(RELEASES[version].java)
        find_maven()
    except NodeError as error:
        pytest.skip(str(error))
    with opensearch_node(
        plugins=plugins,
        version=version,
        kind="local",
        plugin_zips=[filter_plugin(version)],
        settings={"csrm.relevance.url": door.wire.url},
        secrets={"csrm.relevance.key": API_KEY},
        jvm_options=trusting(authority.trust_store(jdk)),
    ) as node:
        assert node.version == version
        yield node


def trusting(store: Path) -> list[str]:
    """The lines of jvm.options that plugin/README.md names."""
    return [
        f"-Djavax.net.ssl.trustStore={store}",
        f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
    ]


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


def profiles_file(folder: Path, road: Road, *, relevance: str, opensearch: dict[str, Any]) -> Path:
    """A settings file with the profile of a road.

    Args:
        relevance: URL of the service.
        opensearch: that part of the file.
    """
    profile = {
        "name": road.name.removeprefix("csrm-"),
        "indices": list(road.indices),
        "text_fields": list(road.text_fields),
        "query_path": "/query/multi_match/query",
        "time_budget_ms": road.budget_ms,
    }
    settings = {"opensearch": opensearch, "relevance": {"url": relevance}, "profiles": [profile]}
    file = folder / "profiles.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


Csrm = Callable[..., tuple[int, str]]


@pytest.fixture
def csrm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Csrm:
    """Runs a command as the shell does: its exit code, and what it says on both streams."""

    def run_command(*arguments: str, key: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["csrm", *arguments])
        monkeypatch.setenv("CSRM_RELEVANCE_KEY", key)
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run_command
