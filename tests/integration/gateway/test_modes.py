"""Shadow, the A/B test, and what metrics and records say of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csrm_opensearch.profiles import RecordSettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.word_service import WordService

NDJSON = {"Content-Type": "application/x-ndjson"}
CASE: dict[str, Any] = {"query": {"match": {"title": "phone case"}}}


def search(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
    answer = call(
        url, "POST", f"/{SHOP}/_search", body, {"Content-Type": "application/json"} | (headers or {})
    )
    assert answer.status == 200, answer.body
    return answer


def records_of(file: Path, count: int) -> list[dict[str, Any]]:
    """The records, once there are so many."""
    until = time.monotonic() + 5
    while len(lines := file.read_text().splitlines()) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(lines) == count
    return [json.loads(line) for line in lines]


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of the samples of a metric with some labels."""
    text = call(url, "GET", "/_csrm/metrics").body.decode()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "searches.jsonl"


@pytest.fixture
def shadowing(opensearch: OpenSearchNode, shop: str, service: WordService, records: Path) -> Iterator[str]:
    told = settings(opensearch.url, service.url, mode="shadow")
    with running_gateway(told.model_copy(update={"records": RecordSettings(file=records)})) as url:
        yield url


@pytest.mark.parametrize("start", [0, 95, 150])
def test_in_the_shadow_nothing_changes_and_nobody_waits(
    opensearch: OpenSearchNode, shadowing: str, service: WordService, records: Path, start: int
) -> None:
    service.delay = 0.5
    body = CASE | {"from": start}
    began = time.monotonic()
    ours = search(shadowing, body)
    assert time.monotonic() - began < 0.5
    assert ours.csrm == "shadow"
    assert ours.lasting == search(opensearch.url, body).lasting
    (record,) = records_of(records, 1)
    assert (record["outcome"], record["window"], 30 < record["removed"] < 40) == ("shadow", 100, True)
    assert record["relevance_ms"] >= 500
    assert metric(shadowing, "csrm_products_removed_total", outcome="shadow") == record["removed"]


def test_a_broken_service_is_recorded_in_the_shadow(
    shadowing: str, service: WordService, records: Path
) -> None:
    service.how = "down"
    assert search(shadowing, CASE).csrm == "shadow"
    (record,) = records_of(records, 1)
    assert (record["outcome"], record["reason"]) == ("skipped", "relevance-down")


def test_a_batch_in_the_shadow(opensearch: OpenSearchNode, shadowing: str, records: Path) -> None:
    line = json.dumps(CASE).encode()
    body = b'{"index":"%s"}\n%s\n' % (SHOP.encode(), line) + b"{}\n" + line + b"\n"
    ours, theirs = (call(url, "POST", f"/{SHOP}/_msearch", body) for url in (shadowing, opensearch.url))
    assert ours.csrm == "shadow"
    assert ours.lasting == theirs.lasting
    assert {record["outcome"] for record in records_of(records, 2)} == {"shadow"}


def test_a_search_may_ask_for_more_than_the_shadow(shadowing: str) -> None:
    assert search(shadowing, CASE | {"ext": {"csrm": {"mode": "on"}}}).csrm.startswith("reranked")


@pytest.fixture
def testing(opensearch: OpenSearchNode, shop: str, service: WordService, records: Path) -> Iterator[str]:
    told = settings(opensearch.url, service.url, traffic={"share": 0.5, "by": "cookie:sid"})
    kept = RecordSettings(file=records, query_text=True)
    with running_gateway(told.model_copy(update={"records": kept})) as url:
        yield url


def test_a_visitor_stays_on_one_side(testing: str, opensearch: OpenSearchNode, records: Path) -> None:
    own = search(opensearch.url, CASE).ids
    sides: dict[str, set[str]] = {}
    for visitor in range(12):
        for _ in range(2):
            answer = search(testing, CASE, {"Cookie": f"a=b; sid=v{visitor}"})
            side = answer.csrm.rpartition("variant=")[2]
            sides.setdefault(side, set()).add(str(visitor))
            assert answer.csrm.startswith(
                "reranked; " if side == "treatment" else "skipped; reason=control; variant=control"
            )
            assert (answer.ids == own) is (side == "control")
        if side == "control":
            assert answer.lasting == search(opensearch.url, CASE).lasting
    assert set(sides) == {"treatment", "control"}
    assert not sides["treatment"] & sides["control"]
    assert all(record["hits"] == 10 for record in records_of(records, 24))
    by_variant = [record["variant"] for record in records_of(records, 24)]
    assert by_variant.count("treatment") == 2 * len(sides["treatment"])
    assert metric(testing, "csrm_searches_total", variant="control") == 2 * len(sides["control"])


def test_batches_are_in_the_test_too(testing: str, records: Path) -> None:
    line = json.dumps(CASE).encode()
    body = b"{}\n" + line + b'\n{}\n{"query":{"match_all":{}},"size":2}\n'
    for visitor in range(8):
        call(testing, "POST", f"/{SHOP}/_msearch", body, {"Cookie": f"sid=v{visitor}"} | NDJSON)
    rows = [row for row in records_of(records, 16) if row["variant"]]
    assert {row["variant"] for row in rows} == {"treatment", "control"}
    assert len({row["visitor"] for row in rows}) == len(rows) == 8


def test_who_does_not_say_who_searches_is_in_no_test(testing: str) -> None:
    assert search(testing, CASE).csrm == "skipped; reason=no-visitor"
    assert search(testing, CASE | {"ext": {"csrm": {"mode": "on"}}}).csrm.startswith("reranked")


def test_a_treated_search_without_judgments_stays_in_the_treatment(
    opensearch: OpenSearchNode, shop: str, service: WordService
) -> None:
    service.how = "down"
    told = settings(opensearch.url, service.url, traffic={"share": 1.0, "by": "header:X-Visitor"})
    with running_gateway(told) as url:
        answer = search(url, CASE, {"X-Visitor": "7"})
        assert answer.csrm == "skipped; reason=relevance-down; variant=treatment"


def test_records_join_with_user_behavior_insights(
    opensearch: OpenSearchNode, shop: str, service: WordService, records: Path
) -> None:
    told = settings(opensearch.url, service.url, traffic={"share": 1.0, "by": "ubi"})
    with running_gateway(told.model_copy(update={"records": RecordSettings(file=records)})) as url:
        ubi = {"query_id": "q-1", "client_id": "c-1", "user_query": "phone case"}
        body = CASE | {"ext": {"ubi": ubi}}
        answer = call(url, "POST", f"/{SHOP}/_search", body)
    if answer.status == 400:  # a node without the plugin does not know ext.ubi, with or without the gateway
        own = call(opensearch.url, "POST", f"/{SHOP}/_search", body)
        assert (answer.status, answer.body) == (own.status, own.body)
    (record,) = records_of(records, 1)
    assert (record["query_id"], record["client_id"], record["variant"]) == ("q-1", "c-1", "treatment")
    assert "query" not in record
    assert b"phone" not in records.read_bytes()


def test_records_hold_the_text_where_that_is_wanted(testing: str, records: Path) -> None:
    search(testing, CASE, {"Cookie": "sid=1"})
    (record,) = records_of(records, 1)
    assert record["query"] == "phone case"
    assert record["profile"] == "shop" and record["index"] == SHOP
    assert 0 < record["opensearch_ms"] <= record["took_ms"] if record["variant"] == "treatment" else True


def test_metrics(gateway: str, service: WordService) -> None:
    search(gateway, CASE)
    search(gateway, CASE | {"size": 0})
    service.how = "down"
    for n in range(3):
        search(gateway, {"query": {"match": {"title": f"phone case {n}"}}})
    assert metric(gateway, "csrm_searches_total", outcome="reranked", profile="shop") == 1
    assert metric(gateway, "csrm_searches_total", reason="size-0") == 1
    assert metric(gateway, "csrm_searches_total", reason="relevance-down") == 3
    assert metric(gateway, "csrm_products_judged_total") == 100
    assert 30 < metric(gateway, "csrm_products_removed_total") < 40
    assert metric(gateway, "csrm_search_seconds_count", stage="total") == 5
    assert metric(gateway, "csrm_search_seconds_count", stage="relevance") == 1
    assert metric(gateway, "csrm_search_seconds_sum", stage="opensearch") > 0
    assert metric(gateway, "csrm_breaker_state") == 2, "open"
    assert metric(gateway, "csrm_requests_total") > 5
