"""Clusters that cannot have a search pipeline, addresses at which there is none: one sentence each."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from opensearchpy import OpenSearch

from csrm_cli.main import run
from csrm_opensearch.cluster import connect
from csrm_opensearch.errors import ClusterRefusedError, ClusterTooOldError, UnreachableError
from csrm_opensearch.native import cluster_parts as parts
from csrm_opensearch.native.doctor import examine
from csrm_opensearch.native.install import install, uninstall
from csrm_opensearch.native.road import Road
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.native.conftest import BEST, SEARCH, hits
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
    """A settings file with the profile of the road."""
    profile = {
        "name": road.name.removeprefix("csrm-"),
        "indices": list(road.indices),
        "text_fields": list(road.text_fields),
        "query_path": "/query/multi_match/query",
    }
    settings = {
        "opensearch": {"urls": [plugin_node.url]},
        "relevance": {"url": service.url},
        "profiles": [profile],
    }
    file = tmp_path / "profiles.yaml"
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


NO_RIGHTS = {
    "error": {
        "root_cause": [],
        "type": "security_exception",
        "reason": "no permissions for [cluster:admin/opensearch/ml/connectors/search] and User [name=shop]",
    },
    "status": 403,
}


@pytest.fixture
def no_rights(plugin_node: OpenSearchNode) -> Iterator[str]:
    """The node behind a door that says of ml-commons what the security plugin says to a user without rights."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = self.path.startswith("/_plugins/_ml")
            inside = None if refused else httpx.request(self.command, plugin_node.url + self.path)
            body = inside.content if inside else json.dumps(NO_RIGHTS).encode()
            self.send_response(inside.status_code if inside else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_user_without_rights(no_rights: str, road: Road) -> None:
    with connect(no_rights) as client:
        with pytest.raises(
            ClusterRefusedError, match=r"refuses this user \(403\): .*cluster:admin/opensearch/ml"
        ):
            uninstall(client, road.name)
        public = replace(
            road, url="https://api.cohere.ai/v2/rerank"
        )  # trusted by default, so no setting to change
        with pytest.raises(ClusterRefusedError, match="put user and password of one with the right"):
            install(client, public)


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
