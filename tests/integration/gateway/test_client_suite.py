"""Tests as opensearch-py has them, directly and through the gateway: `benchmarks.client_suite` says which differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.client_suite import FOLDERS, SuiteError, compare, main, run_tests
from benchmarks.rest_suite import agreeable_gateway
from csrm_opensearch.testing import opensearch_node
from csrm_opensearch.testing.java import Jdk

A_SUITE = '''
import os
import pytest
from opensearchpy import NotFoundError, OpenSearch

@pytest.fixture
def client():
    with OpenSearch(os.environ["OPENSEARCH_URL"]) as client:
        yield client

def test_steady(client):
    client.index(index="shop", body={"title": "phone case"}, refresh=True)
    found = client.search(index="shop", body={"query": {"match": {"title": "phone"}}})
    assert found["hits"]["total"]["value"] == 1

def test_fails_both_ways(client):
    client.get(index="missing", id="1")

def test_names_the_gateway(client):
    assert client.transport.perform_request("GET", "/_csrm/healthz")["status"] == "ok"

def test_once(client):
    """Differs in the first run only."""
    first = not os.path.exists("seen")
    if first and os.path.exists("ran"):
        open("seen", "w").close()
        pytest.fail("the second run")
    open("ran", "w").close()
'''


def checkout(folder: Path, tests: str) -> Path:
    """A checkout that has these tests."""
    at = folder / FOLDERS[0]
    at.mkdir(parents=True)
    (at / "test_small.py").write_text(tests, encoding="utf-8")
    return folder


def test_what_depends_on_the_way_is_told(jdk: Jdk, tmp_path: Path) -> None:
    """On a node of their own: every index is deleted before each run."""
    none_passes = checkout(tmp_path / "none", "def test_it(): assert 1 == 2")
    with opensearch_node(kind="local") as node, agreeable_gateway(node.url) as gateway:
        report = compare(checkout(tmp_path / "some", A_SUITE), node.url, gateway)
        with pytest.raises(SuiteError, match=r"Not one test passes directly.*assert 1 == 2"):
            compare(none_passes, node.url, gateway)
    assert report.tests == 4
    assert [name.rpartition(".")[2] for name in report.differing] == ["test_names_the_gateway"]
    assert [name.rpartition(".")[2] for name in report.unsteady] == ["test_once"]
    (ways,) = report.differing.values()
    assert ways["direct"].startswith("failed: ") and ways["gateway"] == "passed"
    assert report.outcomes["direct"] == {"passed": 2, "failed": 2}
    assert report.outcomes["gateway"] == {"passed": 2, "failed": 2}
    assert report.searches["reranked"] >= 1


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("", "There are no tests"),
        ("import no_such_module", "not installed here: no_such_module"),
        ("def test_it(mocker): pass", "not installed here: pytest-mock"),
        ("def test_it(: pass", "SyntaxError"),
    ],
)
def test_tests_that_cannot_be_run_say_why(tmp_path: Path, tests: str, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        run_tests(checkout(tmp_path, tests), "http://127.0.0.1:9")


def test_a_folder_without_the_tests_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "CHECKOUT" in said and str(tmp_path / "nowhere") in said and FOLDERS[0] in said
