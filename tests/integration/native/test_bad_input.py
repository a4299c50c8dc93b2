"""Clusters that cannot have a search pipeline, addresses at which there is none: one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.cluster import connect
from csrm_opensearch.errors import ClusterTooOldError, UnreachableError
from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.doctor import examine
from csrm_opensearch.native.install import install
from csrm_opensearch.native.road import Road
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.native.conftest import BEST, SEARCH, Csrm, hits, profiles_file
from tests.integration.native.serving import API_KEY, Serving


def test_nobody_there(road: Road) -> None:
    with connect("http://127.0.0.1:1") as client:
        with pytest.raises(UnreachableError, match=r"No OpenSearch answers on http://127\.0\.0\.1:1"):
            install(client, road)
        (check,) = examine(client, road)
        assert check.remedy == "start it, or correct the URL (ConnectionError)."


def test_something_else_there(service: Serving, road: Road) -> None:
    with connect(service.url) as client, pytest.raises(Exception, match=service.url) as raised:
        install(client, road)
    assert type(raised.value).__module__ == "csrm_opensearch.errors"


@pytest.fixture
def profiles(tmp_path: Path, road: Road, service: Serving, plugin_node: OpenSearchNode) -> Path:
    return profiles_file(tmp_path, road, relevance=service.url, opensearch={"urls": [plugin_node.url]})


def test_the_commands_from_nothing_to_nothing(
    client: OpenSearch, profiles: Path, road: Road, csrm: Csrm
) -> None:
    file = ("--profiles", str(profiles))
    code, output = csrm("install", "pipeline", *file)
    assert code == 2
    assert output.startswith("csrm: The cluster's settings do not allow calls to")
    code, output = csrm("install", "pipeline", *file, "--yes", "--default", key=API_KEY)
    assert code == 0
    assert f"search pipeline {road.name} (drop-in): made" in output
    assert API_KEY not in output
    assert set(hits(client.search(index=road.indices[0], body=SEARCH))[:3]) == BEST
    code, output = csrm("doctor", *file)
    assert (code, output.count("ok  "), output.count("BROKEN")) == (0, 6, 0)
    code, output = csrm("doctor", *file, "--relevance", "http://127.0.0.1:9")
    assert (code, output.splitlines()[-1]) == (1, "        do: run csrm install pipeline --yes")
    assert f"search pipeline {road.name}: deleted" in csrm("uninstall", "pipeline", *file)[1]
    assert csrm("uninstall", "pipeline", *file) == (0, f"nothing of {road.name} is there\n")
    code, output = csrm("install", "pipeline", *file, "--opensearch", "http://127.0.0.1:1")
    assert (code, "No OpenSearch answers on http://127.0.0.1:1" in output) == (1, True)


def test_an_older_cluster(client: OpenSearch, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """No node older than 2.19 can be had here: this one answers as it would when it says its version."""
    info = client.info()
    info["version"]["number"] = "2.11.1"
    monkeypatch.setattr(client, "info", lambda: info)
    with pytest.raises(
        ClusterTooOldError, match=r"runs OpenSearch 2\.11\.1: upgrade it, .* need 2\.19 or later"
    ):
        install(client, road, change_settings=True)
    assert parts.connectors_of(client, road.name) == {}
