"""What is done about a cluster whose own indices for machine learning are only just being made."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opensearchpy import RequestError

from csrm_opensearch.cluster import client_errors_named, connect
from csrm_opensearch.errors import UnreachableError
from csrm_opensearch.native import cluster_parts as parts

NO_SHARD = {
    "error": {"reason": "No shard available for [get [.plugins-ml-config][master_key]]"},
    "status": 503,
}


@contextmanager
def cluster(answer: Callable[[int], tuple[int, object]]) -> Iterator[str]:
    """A server whose answers depend on how many requests came before."""
    asked = 0

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal asked
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answer(asked)
            asked += 1
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_first_connector_waits_for_the_cluster() -> None:
    answers = [(503, NO_SHARD), (503, NO_SHARD), (200, {"connector_id": "c"})]
    with cluster(lambda asked: answers[asked]) as url, connect(url) as client:
        assert parts.create_connector(client, {}) == "c"


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_FIRST_TIMEOUT_S", 0.6)
    with (
        cluster(lambda _: (503, NO_SHARD)) as url,
        connect(url) as client,
        pytest.raises(UnreachableError, match=r"cannot answer now \(503\): try again .*No shard available"),
        client_errors_named(client, right="none"),
    ):
        parts.create_connector(client, {})


def test_a_fault_of_ours_is_not_repeated() -> None:
    answers = [(400, {"error": {"reason": "no name"}}), (200, {"connector_id": "c"})]
    with (
        cluster(lambda asked: answers[asked]) as url,
        connect(url) as client,
        pytest.raises(RequestError, match="no name"),
    ):
        parts.create_connector(client, {})
