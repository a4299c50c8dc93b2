"""The clients' side of the wire: odd, slow and hostile connections; bodies without an end; clients that leave."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from csrm_opensearch.gateway import connection
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP
from tests.integration.gateway.running import call
from tests.integration.gateway.word_service import WordService

CASE: dict[str, Any] = {"query": {"match": {"title": "phone case"}}, "size": 3}


def raw(url: str, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back on a connection on which some bytes are sent, until it is closed or silent."""
    address = urlsplit(url)
    answer = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as sock:
        with contextlib.suppress(ConnectionError):  # refused half-way: what was answered can still be read
            for part in parts:
                sock.sendall(part)
                time.sleep(pause)
        sock.settimeout(2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while data := sock.recv(65536):
                answer += data
    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"X: y\r\n folded: z\r\nContent-Length: 5\r\n",
    ],
)
def test_smuggled_requests_are_refused(gateway: str, head: bytes) -> None:
    smuggled = b"0\r\n\r\nGET /_cat/health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(gateway, b"POST /_count HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_head_without_end_is_cut_off(gateway: str) -> None:
    line = b"X-Long: " + b"x" * 8_000 + b"\r\n"
    answer = raw(gateway, b"GET / HTTP/1.1\r\nHost: x\r\n", *[line] * 40, pause=0.01)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_head_that_opensearch_refuses_is_refused_by_opensearch(
    gateway: str, opensearch: OpenSearchNode
) -> None:
    headers = {"X-Long": "x" * 20_000}
    ours, theirs = (call(url, "GET", "/", headers=headers) for url in (gateway, opensearch.url))
    assert (ours.status, ours.json) == (theirs.status, theirs.json)


def test_a_head_that_trickles_in_is_cut_off(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    answer = raw(gateway, *[bytes([byte]) for byte in b"GET / HTTP/1.1\r\nHost: example"], pause=0.05)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert raw(gateway, b"GET / HTTP/1.1\r\nConnection: close\r\n", b"\r\n", pause=0.01).startswith(
        b"HTTP/1.1 200 "
    )


def test_one_connection_carries_many_requests(gateway: str) -> None:
    http_connection = http.client.HTTPConnection(urlsplit(gateway).netloc, timeout=10)
    body = json.dumps(CASE)
    for _ in range(3):
        for method, path, sent in (
            ("GET", "/", None),
            ("HEAD", f"/{SHOP}", None),
            ("POST", f"/{SHOP}/_search", body),
            ("POST", f"/{FOREIGN}/_search", body),
            ("GET", "/no-such-index/_search", None),
        ):
            http_connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
            response = http_connection.getresponse()
            response.read()
            assert response.status == (404 if "no-such" in path else 200)
            assert not response.will_close
    http_connection.close()


def test_pipelined_requests_are_answered_in_order(gateway: str) -> None:
    one = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /_cat/aliases?h=alias HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(gateway, one % b"no-such-index-1" + one % b"no-such-index-2" + last)
    assert answer.count(b"HTTP/1.1 ") == 3
    assert (
        answer.index(b"[no-such-index-1]")
        < answer.index(b"[no-such-index-2]")
        < answer.rindex(b"HTTP/1.1 200")
    )


def test_raw_utf8_in_the_url_is_read(gateway: str) -> None:
    """As curl sends what somebody types."""
    target = f"/{SHOP}/_search?df=title&size=2&q=case%20전화".encode()
    answer = raw(gateway, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"csrm-status: reranked" in answer


def test_the_rest_of_a_body_that_is_answered_early_is_no_request(gateway: str) -> None:
    """A body of the length that was said, in UTF-8 and in pieces, after the answer is out."""
    pieces = ["전화 케이스\r\n".encode() * 50] * 4
    head = b"POST /_csrm/healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(b"".join(pieces))
    last = b"GET /_csrm/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(gateway, head, *pieces, last, pause=0.1)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"405", b"200"]


def test_100_continue(gateway: str) -> None:
    body = json.dumps(CASE).encode()
    head = (
        b"POST /%s/_search HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
        % SHOP.encode()
    )
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = raw(gateway, head, body, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def test_a_large_bulk_streams_with_flat_memory(gateway: str, index_name: str) -> None:
    """40 MB: the node, which has half a GB, takes no more at once."""
    line = b'{"index":{"_index":"%s"}}\n{"t":"%s"}\n' % (index_name.encode(), b"x" * 64_000)
    process, most = psutil.Process(), 0
    call(gateway, "PUT", f"/{index_name}", {"mappings": {"enabled": False}})
    before = process.memory_info().rss

    def lines() -> Iterator[bytes]:
        nonlocal most
        for _ in range(640):
            yield line
            most = max(most, process.memory_info().rss)

    headers = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
    answer = call(gateway, "POST", "/_bulk?filter_path=errors", lines(), headers, chunked=True)
    assert (answer.status, answer.json) == (200, {"errors": False})
    assert most - before < 15 * 1024 * 1024


def test_the_work_for_a_client_that_leaves_is_dropped(gateway: str, service: WordService) -> None:
    service.delay = 3.0
    address = urlsplit(gateway)
    body = json.dumps({"query": {"match": {"title": "phone case leaving"}}}).encode()
    with socket.create_connection((address.hostname or "", address.port or 0)) as sock:
        sock.sendall(
            b"POST /%s/_search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % SHOP.encode()
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
        )
        until = time.monotonic() + 5
        while not service.asked and time.monotonic() < until:
            time.sleep(0.01)
        assert len(service.asked) == 1
    until = time.monotonic() + 2
    while not service.cancelled and time.monotonic() < until:
        time.sleep(0.01)
    assert service.cancelled == 1


def test_searches_side_by_side(gateway: str, service: WordService) -> None:
    """Twenty at once, each its own page."""
    pages: dict[int, list[str]] = {}

    def turn(start: int) -> None:
        pages[start] = call(gateway, "POST", f"/{SHOP}/_search", {**CASE, "from": start}).ids

    threads = [threading.Thread(target=turn, args=(3 * n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turned = [one for start in sorted(pages) for one in pages[start]]
    assert len(turned) == len(set(turned)) == 60
