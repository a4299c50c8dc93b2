"""The node does what a shop's search needs, and a node of our own goes when it should, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection

from csrm_opensearch.testing import OpenSearchNode, opensearch_node
from csrm_opensearch.testing.container import engine_answers
from csrm_opensearch.testing.errors import (
    NodeStartError,
    NodeUrlError,
    NotEnoughMemoryError,
    PortTakenError,
)
from csrm_opensearch.testing.home import node_home
from csrm_opensearch.testing.java import Jdk
from csrm_opensearch.testing.node import RERANK_PLUGINS
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES

TITLES = {
    "1": "Wireless running headphones, red",
    "2": "Funda roja para teléfono",
    "3": "무선 이어폰 빨간색",
    "4": "ワイヤレスイヤホン 赤",
}


@pytest.fixture
def shop(client: OpenSearch, index_name: str) -> str:
    """A small index with a price and, for every language, an analyzer."""
    fields = {analyzer: {"type": "text", "analyzer": analyzer} for analyzer in ("english", "spanish", "cjk")}
    properties = {"title": {"type": "text", "fields": fields}, "price": {"type": "float"}}
    client.indices.create(index=index_name, body={"mappings": {"properties": properties}})
    for key, title in TITLES.items():
        client.index(index=index_name, id=key, body={"title": title, "price": int(key)}, refresh=True)
    return index_name


def found(client: OpenSearch, index: str, query: dict[str, object], **search: object) -> list[str]:
    answer = client.search(index=index, body={"query": query, **search})
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the nodes of this test, also those of its child processes, keep their data."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def run_folders(runs: Path) -> list[Path]:
    return list(runs.glob("csrm-opensearch-*"))


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("title.english", "runs", ["1"]),
        ("title.spanish", "telefonos", ["2"]),
        ("title.cjk", "이어폰", ["3"]),
        ("title.cjk", "イヤホン", ["4"]),
    ],
)
def test_analyzers(client: OpenSearch, shop: str, field: str, text: str, expected: list[str]) -> None:
    assert found(client, shop, {"match": {field: text}}) == expected


def test_scripts_sort_highlight_and_aggregate(client: OpenSearch, shop: str) -> None:
    script = {"script_score": {"query": {"match_all": {}}, "script": {"source": "doc['price'].value"}}}
    assert found(client, shop, script) == ["4", "3", "2", "1"]
    assert found(client, shop, {"match_all": {}}, sort=["price"], search_after=[2]) == ["3", "4"]
    answer = client.search(
        index=shop,
        body={
            "query": {"match": {"title": "red"}},
            "highlight": {"fields": {"title": {}}},
            "aggs": {"dearest": {"max": {"field": "price"}}},
        },
    )
    assert answer["hits"]["hits"][0]["highlight"]["title"] == ["Wireless running headphones, <em>red</em>"]
    assert answer["aggregations"]["dearest"]["value"] == 1


def test_search_template_reindex_ingest_and_rank_eval(client: OpenSearch, shop: str, index_name: str) -> None:
    template = {"source": {"query": {"match": {"title": "{{text}}"}}}, "params": {"text": "red"}}
    hits = client.search_template(index=shop, body=template)["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["1"]

    pipeline = f"lower-{index_name}"
    client.ingest.put_pipeline(id=pipeline, body={"processors": [{"lowercase": {"field": "title"}}]})
    copy = {"source": {"index": shop}, "dest": {"index": f"{index_name}-copy", "pipeline": pipeline}}
    client.reindex(body=copy, refresh=True)
    client.ingest.delete_pipeline(id=pipeline)
    assert client.get(index=f"{index_name}-copy", id="1")["_source"]["title"] == TITLES["1"].lower()

    rated = {
        "requests": [
            {
                "id": "red",
                "request": {"query": {"match": {"title": "red"}}},
                "ratings": [{"_index": shop, "_id": "1", "rating": 1}],
            }
        ],
        "metric": {"precision": {"k": 1}},
    }
    assert client.rank_eval(index=shop, body=rated)["metric_score"] == 1.0


def test_point_in_time_and_scroll(client: OpenSearch, shop: str) -> None:
    pit = client.create_pit(index=shop, params={"keep_alive": "1m"})["pit_id"]
    answer = client.search(body={"size": 2, "sort": ["price"], "pit": {"id": pit, "keep_alive": "1m"}})
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["1", "2"]
    client.delete_pit(body={"pit_id": [pit]})

    first = client.search(index=shop, body={"size": 3, "sort": ["price"]}, params={"scroll": "1m"})
    rest = client.scroll(body={"scroll_id": first["_scroll_id"], "scroll": "1m"})
    assert [hit["_id"] for hit in rest["hits"]["hits"]] == ["4"]
    client.clear_scroll(body={"scroll_id": [first["_scroll_id"]]})


def test_url_is_used_and_left_running(opensearch: OpenSearchNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", opensearch.url + "/")
    with opensearch_node() as node:
        assert (node.kind, node.url, node.version) == ("url", opensearch.url, opensearch.version)
    with OpenSearch(opensearch.url) as client:
        assert client.ping()


def test_url_of_a_node_without_the_plugins(
    opensearch: OpenSearchNode, client: OpenSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    if set(RERANK_PLUGINS) <= {row["component"] for row in client.cat.plugins(format="json")}:
        pytest.skip("this session's node has the plugins")
    monkeypatch.setenv("OPENSEARCH_URL", opensearch.url)
    with pytest.raises(NodeUrlError, match="lacks opensearch-job-scheduler"), opensearch_node(plugins=True):
        pass


@pytest.mark.docker
@pytest.mark.skipif(not engine_answers(), reason="no Docker engine answers")
def test_container() -> None:
    with opensearch_node(kind="docker") as node:
        assert node.kind == "docker"
        with OpenSearch(node.url) as client:
            assert client.cluster.health()["status"] in ("green", "yellow")


def test_stop_ends_the_process_and_removes_its_data(jdk: Jdk, runs: Path) -> None:
    with opensearch_node(kind="local") as node:
        assert node.pid is not None
        assert len(run_folders(runs)) == 1
        pid = node.pid
        with pytest.raises(PortTakenError), opensearch_node(kind="local", port=port_of(node)):
            pass
        started = time.monotonic()
        node.stop()
        assert time.monotonic() - started < 5
        assert not is_alive(pid)
        assert run_folders(runs) == []
    # The port is free again, and can be asked for.
    with opensearch_node(kind="local", port=port_of(node)) as again:
        assert again.url == node.url


def port_of(node: OpenSearchNode) -> int:
    return int(node.url.rpartition(":")[2])


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_node_goes_with_its_parent(jdk: Jdk, runs: Path, ending: signal.Signals) -> None:
    program = (
        "import time\n"
        "from csrm_opensearch.testing import opensearch_node\n"
        "with opensearch_node(kind='local') as node:\n"
        "    print(node.pid, node.url, flush=True)\n"
        "    time.sleep(300)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` has it ignored
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    with OpenSearch(url) as client:
        assert client.ping()
    assert len(run_folders(runs)) == 1
    parent.send_signal(ending)
    parent.wait(20)
    parent.stdout.close()
    assert gone_within(10, int(pid))
    assert run_folders(runs) == []
    with pytest.raises(NoConnection), OpenSearch(url, max_retries=0) as client:
        client.info()


def test_node_that_does_not_come_up_in_time(jdk: Jdk, runs: Path) -> None:
    with (
        pytest.raises(NodeStartError, match=r"did not come up in \d+ s") as raised,
        opensearch_node(kind="local", timeout_s=0.2),
    ):
        pass
    assert run_folders(runs) == []
    assert raised.value.log_tail in str(raised.value)


def test_heap_in_which_no_node_fits(jdk: Jdk) -> None:
    with (
        pytest.raises(NotEnoughMemoryError, match="ran out of memory while starting"),
        opensearch_node(kind="local", heap_mb=16),
    ):
        pass


def test_two_at_once_make_one_home(jdk: Jdk, tmp_path: Path) -> None:
    steps: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        tasks = [
            pool.submit(
                node_home,
                jdk,
                RELEASES[OPENSEARCH_VERSION],
                plugins=False,
                progress=steps.append,
                cache=tmp_path,
            )
            for _ in range(2)
        ]
        first, second = (task.result() for task in tasks)
    assert first == second
    assert len([step for step in steps if step.startswith("Putting")]) == 1
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {first}


def test_home_that_is_there_needs_no_maven(jdk: Jdk, monkeypatch: pytest.MonkeyPatch) -> None:
    node_home(jdk, RELEASES[OPENSEARCH_VERSION], plugins=False, progress=lambda _: None)
    monkeypatch.setenv("PATH", "")
    steps: list[str] = []
    node_home(jdk, RELEASES[OPENSEARCH_VERSION], plugins=False, progress=steps.append)
    assert steps == []


def test_plugins_knn_and_hybrid() -> None:
    with opensearch_node(plugins=True) as node, OpenSearch(node.url, timeout=60) as client:
        assert set(RERANK_PLUGINS) <= {row["component"] for row in client.cat.plugins(format="json")}
        vector = {
            "type": "knn_vector",
            "dimension": 2,
            "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
        }
        client.indices.create(
            index="test-hybrid",
            body={
                "settings": {"index.knn": True},
                "mappings": {"properties": {"title": {"type": "text"}, "vector": vector}},
            },
        )
        try:
            for key, title, at in (("1", "red case", [1, 0]), ("2", "red phone", [0.6, 0.8])):
                client.index(index="test-hybrid", id=key, body={"title": title, "vector": at}, refresh=True)
            pipeline = {
                "phase_results_processors": [
                    {
                        "normalization-processor": {
                            "combination": {
                                "technique": "arithmetic_mean",
                                "parameters": {"weights": [0.1, 0.9]},
                            }
                        }
                    }
                ]
            }
            lexical = {"match": {"title": "case"}}
            near = {"knn": {"vector": {"vector": [0, 1], "k": 2}}}
            assert found(client, "test-hybrid", near) == ["2", "1"]
            hybrid = {"hybrid": {"queries": [lexical, near]}}
            assert found(client, "test-hybrid", hybrid, search_pipeline=pipeline) == ["2", "1"]
            assert found(client, "test-hybrid", lexical) == ["1"]
        finally:
            client.indices.delete(index="test-hybrid")
