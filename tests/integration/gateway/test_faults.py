"""Faults: with a broken relevance service shoppers get OpenSearch's own page, with a broken OpenSearch the word."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from csrm_opensearch.profiles import BreakerSettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Answer, Wire, call, running_gateway
from tests.integration.gateway.word_service import WordService, word_service

_numbers = count()


def case(**more: Any) -> dict[str, Any]:
    """A search that no other test asked, so that no judgments of it are remembered."""
    return {"query": {"match": {"title": f"phone case {next(_numbers)}"}}, **more}


def search(url: str, body: dict[str, Any]) -> Answer:
    answer = call(url, "POST", f"/{SHOP}/_search", body)
    assert answer.status == 200, answer.body
    return answer


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of this machine that answers no new connection, as that of a machine without power does."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        port = int(sock.getsockname()[1])
        with socket.socket() as first, socket.socket() as second:  # they fill what it may keep waiting
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            yield port


# --- the relevance service


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("down", "relevance-down"),
        ("garbage", "relevance-garbage"),
        ("short", "relevance-garbage"),
        ("nan", "relevance-garbage"),
        ("refuses", "relevance-refused"),
        ("hangs-up", "relevance-down"),
    ],
)
@pytest.mark.parametrize("start", [0, 40, 120])
def test_a_broken_service_costs_nothing_but_the_better_page(
    opensearch: OpenSearchNode, gateway: str, service: WordService, how: str, reason: str, start: int
) -> None:
    service.how = how
    body = case(**{"from": start, "_source": ["price"]})
    ours, theirs = search(gateway, body), search(opensearch.url, body)
    assert ours.csrm == f"skipped; reason={reason}"
    assert ours.lasting == theirs.lasting
    assert len(service.asked) == 1, "never asked twice for one search"


def test_a_kept_connection_that_the_service_closed_costs_no_page(gateway: str, service: WordService) -> None:
    service.how = "closes-kept"
    for asked in (1, 3, 4):  # the second goes out on the kept connection, then on a new one
        assert search(gateway, case()).csrm.startswith("reranked")
        assert len(service.asked) == asked


def test_a_newer_service_may_say_more(gateway: str, service: WordService) -> None:
    service.how = "newer"
    assert search(gateway, case()).csrm.startswith("reranked")


@pytest.fixture
def hasty(opensearch: OpenSearchNode, shop: str, service: WordService) -> Iterator[str]:
    """A gateway with a second a search, and one search at a time that may wait for judgments."""
    told = settings(opensearch.url, service.url, time_budget_ms=1_000)
    breaker = BreakerSettings(failures=3, cooldown_ms=60_000)  # does not probe while a busy machine thinks
    relevance = told.relevance.model_copy(update={"max_in_flight": 1, "breaker": breaker})
    with running_gateway(told.model_copy(update={"relevance": relevance})) as url:
        yield url


def test_a_late_answer_is_not_waited_for(
    opensearch: OpenSearchNode, hasty: str, service: WordService
) -> None:
    service.delay = 5.0
    body, began = case(), time.monotonic()
    ours = search(hasty, body)
    assert time.monotonic() - began < 3.0
    assert ours.csrm == "skipped; reason=deadline"
    assert ours.lasting == search(opensearch.url, body).lasting
    assert 0 < service.asked[0]["deadline_ms"] <= 1_000, (
        "the service is told, so that it can drop what is late"
    )


def test_searches_beyond_the_bulkhead_get_their_own_page_in_time(hasty: str, service: WordService) -> None:
    service.delay = 0.6
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(search(hasty, case()).csrm)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer.startswith("reranked") for answer in answers) >= 1
    assert "skipped; reason=busy" in answers
    assert {answer.partition("; w")[0] for answer in answers} <= {
        "reranked",
        "skipped; reason=busy",
        "skipped; reason=deadline",
    }


def test_the_breaker_opens_then_probes_and_closes(gateway: str, service: WordService) -> None:
    service.how = "down"
    reasons = [search(gateway, case()).csrm.partition("reason=")[2] for _ in range(5)]
    assert reasons == ["relevance-down"] * 3 + ["breaker-open"] * 2
    assert len(service.asked) == 3
    assert call(gateway, "GET", "/_csrm/readyz").json["breaker"] == "open"
    time.sleep(0.35)  # the cooldown
    assert search(gateway, case()).csrm == "skipped; reason=relevance-down"
    assert search(gateway, case()).csrm == "skipped; reason=breaker-open"
    assert len(service.asked) == 4, "one probe"
    service.how = "well"
    time.sleep(0.35)
    assert search(gateway, case()).csrm.startswith("reranked")
    assert search(gateway, case()).csrm.startswith("reranked")
    assert call(gateway, "GET", "/_csrm/readyz").json["breaker"] == "closed"


def test_a_slow_service_opens_the_breaker_too(hasty: str, service: WordService) -> None:
    service.delay = 5.0
    reasons: list[str] = []
    while "breaker-open" not in reasons:  # on a busy machine OpenSearch alone may use up the time
        assert len(reasons) < 12
        reasons.append(search(hasty, case()).csrm.partition("reason=")[2])
    assert set(reasons[:-1]) == {"deadline"}
    assert len(service.asked) == 3


def test_the_service_may_come_later(opensearch: OpenSearchNode, shop: str) -> None:
    port = free_port()
    with running_gateway(settings(opensearch.url, f"http://127.0.0.1:{port}")) as url:
        ready = call(url, "GET", "/_csrm/readyz")
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        assert ready.json["relevance"]["state"] == "unreachable"
        assert search(url, case()).csrm == "skipped; reason=relevance-down"
        with word_service(port):
            assert search(url, case()).csrm.startswith("reranked")
            assert call(url, "GET", "/_csrm/readyz").json["status"] == "ready"
        assert search(url, case()).csrm == "skipped; reason=relevance-down"


# --- OpenSearch


@pytest.fixture
def wire(opensearch: OpenSearchNode) -> Iterator[Wire]:
    wire = Wire(opensearch.url)
    yield wire
    wire.close()


def test_opensearch_down_is_said_and_over_when_it_is_back(
    wire: Wire, shop: str, service: WordService
) -> None:
    wire.cut()
    with running_gateway(settings(wire.url, service.url)) as url:
        for method, path, body in (("GET", "/", None), ("POST", f"/{SHOP}/_search", case())):
            answer = call(url, method, path, body)
            assert answer.status == 503
            assert answer.json["error"]["type"] == "opensearch_unreachable_exception"
            assert answer.json["status"] == 503
        assert call(url, "GET", "/_csrm/healthz").status == 200
        ready = call(url, "GET", "/_csrm/readyz")
        assert (ready.status, ready.json["status"]) == (503, "unavailable")
        wire.mend()
        assert search(url, case()).csrm.startswith("reranked")
        assert call(url, "GET", "/_csrm/readyz").json["status"] == "ready"


def test_a_restart_between_searches_costs_no_search(wire: Wire, shop: str, service: WordService) -> None:
    """The connections that the gateway kept are dead: it finds out before the client does."""
    with running_gateway(settings(wire.url, service.url)) as url:
        for _ in range(5):
            assert search(url, case()).csrm.startswith("reranked")
            assert call(url, "POST", f"/{SHOP}/_count", {"query": {"match_all": {}}}).status == 200
            wire.cut()
            wire.mend()


def test_kept_connections_that_opensearch_closed_cost_no_search(
    wire: Wire, shop: str, service: WordService
) -> None:
    """All of them at once: the second attempt does not take up another."""
    answers: list[Answer] = []
    with running_gateway(settings(wire.url, service.url)) as url:
        for closes_kept in (False, True, True):
            wire.closes_kept = closes_kept
            threads = [
                threading.Thread(target=lambda: answers.append(search(url, case(size=3)))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(answers) == 24
    assert all(answer.csrm.startswith("reranked") for answer in answers)


def test_a_write_that_opensearch_hung_up_in_is_not_sent_twice(
    wire: Wire, opensearch: OpenSearchNode, service: WordService, index_name: str
) -> None:
    with running_gateway(settings(wire.url, service.url)) as url:
        assert call(url, "GET", "/").status == 200
        wire.closes_kept = True
        answer = call(url, "POST", f"/{index_name}/_doc", {"n": 1})
        assert (answer.status, answer.json["status"]) == (502, 502)
        assert answer.json["error"]["type"] == "opensearch_broken_answer_exception"
        assert "hung up" in answer.json["error"]["reason"]
        assert call(url, "PUT", f"/{index_name}/_doc/1?refresh=true", {"n": 1}).status == 201
    assert call(opensearch.url, "GET", f"/{index_name}/_count").json["count"] == 1


def test_a_dead_node_is_passed_over(opensearch: OpenSearchNode, shop: str, service: WordService) -> None:
    told = settings(opensearch.url, service.url)
    dead = f"http://127.0.0.1:{free_port()}"
    nodes = told.opensearch.model_copy(update={"urls": [dead, opensearch.url]})
    with running_gateway(told.model_copy(update={"opensearch": nodes})) as url:
        assert search(url, case()).csrm.startswith("reranked")
        assert call(url, "PUT", f"/{SHOP}/_alias/{SHOP}-failover").status == 200
        assert call(url, "DELETE", f"/{SHOP}/_alias/{SHOP}-failover").status == 200


def test_a_silent_node_is_passed_over_by_each_of_several_searches(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    """Those that wait for it while another one already moved on to the next node, too."""
    answers: list[Answer] = []
    with silent_port() as port:
        told = settings(opensearch.url, service.url)
        urls = [f"http://127.0.0.1:{port}", opensearch.url]
        nodes = told.opensearch.model_copy(update={"urls": urls, "connect_timeout_ms": 600})
        with running_gateway(told.model_copy(update={"opensearch": nodes})) as url:
            threads = [threading.Thread(target=lambda: answers.append(search(url, case()))) for _ in range(4)]
            for thread in threads:
                thread.start()
                time.sleep(0.1)
            for thread in threads:
                thread.join()
    assert [answer.status for answer in answers] == [200] * 4


def test_under_load_no_search_fails_that_a_node_could_answer(
    opensearch: OpenSearchNode, wire: Wire, shop: str, service: WordService
) -> None:
    """Two nodes, one of which comes and goes: its searches in flight are asked again of the other."""
    told = settings(opensearch.url, service.url)
    nodes = told.opensearch.model_copy(update={"urls": [wire.url, opensearch.url]})
    statuses: list[int] = []
    done = threading.Event()

    def shop_around(url: str) -> None:
        while not done.is_set():
            statuses.append(call(url, "POST", f"/{SHOP}/_search", case()).status)

    with running_gateway(told.model_copy(update={"opensearch": nodes})) as url:
        threads = [threading.Thread(target=shop_around, args=(url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(12):
            time.sleep(0.1)
            wire.cut()
            time.sleep(0.05)
            wire.mend()
        done.set()
        for thread in threads:
            thread.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}
