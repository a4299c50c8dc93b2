"""From searches in an A/B test, through the events of their shoppers, to the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch, helpers
from typer.testing import CliRunner

from csrm_cli.main import app
from csrm_opensearch.profiles import RecordSettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import PREFIX, SHOP, settings
from tests.integration.gateway.running import call, running_gateway
from tests.integration.gateway.word_service import WordService

EVENTS = f"{PREFIX}-ubi-events"
MAPPINGS = {
    "properties": {
        "query_id": {"type": "keyword"},
        "action_name": {"type": "keyword"},
        "timestamp": {"type": "date"},
    }
}


@pytest.fixture
def records(opensearch: OpenSearchNode, shop: str, service: WordService, tmp_path: Path) -> Path:
    """Of 20 visitors who search twice, as the gateway wrote them; with a line that was cut off."""
    file = tmp_path / "searches.jsonl"
    told = settings(opensearch.url, service.url, traffic={"share": 0.5, "by": "header:x-visitor"})
    with running_gateway(told.model_copy(update={"records": RecordSettings(file=file)})) as url:
        for visitor in range(20):
            for text in ("phone case", "nothinghasthis"):
                body = {"query": {"match": {"title": text}}}
                headers = {"Content-Type": "application/json", "X-Visitor": str(visitor)}
                assert call(url, "POST", f"/{SHOP}/_search", body, headers).status == 200
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for number, row in enumerate(rows):  # a node without the plugin takes no ext.ubi
        row["query_id"] = f"q{number}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"variant": "trea')
    return file


@pytest.fixture
def events(opensearch: OpenSearchNode, records: Path) -> Iterator[str]:
    """Treated visitors click and buy, the others click."""
    rows = [json.loads(line) for line in records.read_text().splitlines()[:-1]]
    with OpenSearch(opensearch.url, timeout=60) as client:
        client.indices.create(index=EVENTS, body={"mappings": MAPPINGS})
        done: list[dict[str, Any]] = []
        for row in rows:
            names = ["item_click", "buy"] if row["variant"] == "treatment" else ["item_click", "hover"]
            done += [
                {"query_id": row["query_id"], "action_name": name, "timestamp": row["time"]} for name in names
            ]
        done.append({"query_id": "q0", "action_name": "buy", "timestamp": "2001-01-01T00:00:00Z"})
        helpers.bulk(client, ({"_index": EVENTS, **event} for event in done), refresh=True)
        yield EVENTS
        client.indices.delete(index=EVENTS)


def test_the_report(opensearch: OpenSearchNode, records: Path, events: str) -> None:
    options = [
        "--opensearch",
        opensearch.url,
        "--events",
        events,
        "--click",
        "item_click",
        "--purchase",
        "buy",
    ]
    done = CliRunner().invoke(app, ["report", str(records), *options, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    treated, control = report["variants"]
    assert treated["visitors"] + control["visitors"] == 20
    assert treated["visitors"] and control["visitors"]
    assert treated["searches"] == 2 * treated["visitors"]
    assert treated["reranked"] == 0.5 and control["reranked"] == 0
    assert 0.3 < treated["removed"] < 0.4 and control["removed"] is None
    assert treated["without_result"]["value"] == control["without_result"]["value"] == 0.5
    assert treated["clicks"]["value"] == control["clicks"]["value"] == 2
    assert treated["purchases"]["value"] == report["more_purchases"]["value"] == 2
    table = CliRunner().invoke(app, ["report", str(records), *options])
    assert table.exit_code == 0 and "treatment" in table.stdout and "2.000 [2.000, 2.000]" in table.stdout


def test_a_missing_index_is_said(opensearch: OpenSearchNode, records: Path) -> None:
    done = CliRunner().invoke(
        app, ["report", str(records), "--opensearch", opensearch.url, "--events", "no-such"]
    )
    assert done.exit_code != 0
    assert type(done.exception).__name__ == "ClusterRefusedError"
