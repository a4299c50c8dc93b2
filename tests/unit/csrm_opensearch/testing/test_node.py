"""What is said when OPENSEARCH_URL, the port or the memory is wrong, before any node is started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from csrm_opensearch.testing import opensearch_node
from csrm_opensearch.testing.errors import NodeUrlError, NotEnoughMemoryError, PortTakenError
from csrm_opensearch.testing.java import Jdk
from csrm_opensearch.testing.process import available_memory_mb, start_node


class Greeting(BaseHTTPRequestHandler):
    """A web server that is not OpenSearch."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>hello</h1>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_url_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(NodeUrlError, match="does not answer as OpenSearch: start it"), opensearch_node():
        pass


def test_url_of_something_else(web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", web_server)
    with pytest.raises(NodeUrlError, match="does not answer as OpenSearch"), opensearch_node():
        pass


def test_no_url_and_no_password_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "admin:secret@localhost:9200")
    with pytest.raises(NodeUrlError, match=r"is no http\(s\) URL") as raised, opensearch_node():
        pass
    assert "secret" not in str(raised.value)


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} is in use"):
            start_node(
                tmp_path,
                Jdk(tmp_path, 17),
                port=port,
                heap_mb=512,
                timeout_s=1,
                progress=print,
            )


@pytest.mark.skipif(available_memory_mb() is None, reason="this system does not tell its free memory")
def test_more_heap_than_memory(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughMemoryError, match="ask for a smaller heap"):
        start_node(
            tmp_path,
            Jdk(tmp_path, 17),
            port=None,
            heap_mb=100_000_000,
            timeout_s=1,
            progress=print,
        )
