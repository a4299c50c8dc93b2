"""What the gateway process logs, and by which name a request is known on its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP, settings
from tests.integration.gateway.running import call
from tests.integration.gateway.test_command import Running, gateway_process
from tests.integration.gateway.word_service import WordService

CASE: dict[str, Any] = {"query": {"match": {"title": "phone case secretly"}}}
JSON = {"Content-Type": "application/json"}
AS_JSON = ("--log-format", "json", "--log-level", "info")


@pytest.fixture
def profiles(opensearch: OpenSearchNode, shop: str, service: WordService, tmp_path: Path) -> Path:
    return written(tmp_path, opensearch, service, query_text=False)


def written(folder: Path, opensearch: OpenSearchNode, service: WordService, *, query_text: bool) -> Path:
    told = settings(opensearch.url, service.url).model_dump(mode="json")
    told["records"] = {"file": str(folder / "searches.jsonl"), "query_text": query_text}
    file = folder / "profiles.yaml"
    file.write_text(yaml.safe_dump(told))
    return file


def lines(running: Running, logger: str = "") -> list[dict[str, Any]]:
    every = [json.loads(line) for line in running.log.read_text().splitlines()]
    return [line for line in every if line["logger"].startswith(logger)]


def test_a_line_a_request_and_a_line_a_search(profiles: Path, service: WordService) -> None:
    with gateway_process(profiles, *AS_JSON) as running:
        path = f"/{SHOP}/_search?pretty"
        answer = call(running.url, "POST", path, CASE, JSON | {"X-Opaque-Id": "checkout-7"})
        assert answer.csrm.startswith("reranked")
        assert answer.headers["x-opaque-id"] == "checkout-7", "OpenSearch's own echo"
        service.how = "down"
        call(running.url, "POST", path, {"query": {"match": {"title": "case secretly"}}})
        call(running.url, "POST", f"/{FOREIGN}/_search?q=secretly", None)
        call(running.url, "GET", "/no-such-index")
        assert running.stop() == 0
        requests, searches = lines(running, "csrm.requests"), lines(running, "csrm.searches")
        whole = running.log.read_text()
    first, second, foreign, absent = requests
    assert (
        first.items()
        >= {
            "level": "info",
            "request": "checkout-7",
            "method": "POST",
            "path": f"/{SHOP}/_search",
            "status": 200,
            "bytes": len(answer.body),
            "client": "127.0.0.1",
            "csrm_status": answer.csrm,
        }.items()
    )
    assert first["took_ms"] > 0
    assert (foreign["csrm_status"], absent["status"]) == (None, 404)
    assert len({line["request"] for line in requests}) == 4, "each has a name"
    reranked, failed = searches
    assert (
        reranked.items()
        >= {"request": "checkout-7", "outcome": "reranked", "window": 100, "profile": "shop"}.items()
    )
    assert failed.items() >= {"request": second["request"], "reason": "relevance-down"}.items()
    (why,) = (line for line in lines(running) if line["message"].startswith("no judgments: "))
    assert "503" in why["message"], "what the service answered"
    assert (why["level"], why["request"]) == ("warning", second["request"])
    assert "secretly" not in whole
    record = json.loads((profiles.parent / "searches.jsonl").read_text().splitlines()[0])
    assert record["request"] == "checkout-7"
    assert {name for name in reranked if name not in record} == {"level", "logger", "message"}


def test_the_shoppers_text_is_logged_where_that_is_said(
    opensearch: OpenSearchNode, shop: str, service: WordService, tmp_path: Path
) -> None:
    with gateway_process(written(tmp_path, opensearch, service, query_text=True), *AS_JSON) as running:
        call(running.url, "POST", f"/{SHOP}/_search", CASE)
        assert running.stop() == 0
        (search,) = lines(running, "csrm.searches")
    assert search["query"] == "phone case secretly"


def test_lines_of_text(profiles: Path) -> None:
    with gateway_process(profiles, "--log-level", "info") as running:
        running.search()
        assert running.stop() == 0
        said = running.log.read_text()
    assert f"INFO POST /{SHOP}/_search 200 " in said
    assert "INFO search reranked; window=100; " in said


def test_only_what_goes_wrong_is_logged_unless_more_is_asked_for(
    profiles: Path, service: WordService
) -> None:
    with gateway_process(profiles) as running:
        assert running.search().csrm.startswith("reranked")
        assert running.log.read_text() == ""
        for how in ("refuses", "garbage"):
            service.how = how
            for number in range(5):
                running.search(f"phone case {how} {number}")
        assert running.stop() == 0
        refused, *others, garbage = running.log.read_text().splitlines()
    assert "WARNING no judgments: The relevance service's answer is not one" in garbage
    assert "WARNING no judgments: The relevance service answered 422" in refused
    assert len(others) < 8, "of each kind at most one a second"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("checkout-7", "checkout-7"),
        (None, None),
        ("x" * 200, None),
        ("caf\xc3\xa9", None),
        ("two words", None),
    ],
)
def test_the_service_is_told_what_the_request_is_called(
    gateway: str, opensearch: OpenSearchNode, service: WordService, given: str | None, known: str | None
) -> None:
    headers = JSON | ({"X-Opaque-Id": given} if given else {})
    body = {"query": {"match": {"title": f"phone case {given}"[:40]}}}
    ours, theirs = (call(url, "POST", f"/{SHOP}/_search", body, headers) for url in (gateway, opensearch.url))
    assert ours.headers.get("x-opaque-id") == theirs.headers.get("x-opaque-id"), "OpenSearch is told no other"
    (heard,) = service.headers
    assert heard["X-Opaque-Id"] == heard["X-Request-Id"]
    assert heard["X-Opaque-Id"] == known if known else len(heard["X-Opaque-Id"]) == 16
