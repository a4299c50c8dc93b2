"""The newest OpenSearch that can be had here: what of ours works on it. It has no plugins, so no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.errors import PluginsMissingError
from csrm_opensearch.native.doctor import examine
from csrm_opensearch.native.install import install, uninstall
from csrm_opensearch.native.road import Road, pipeline_body
from csrm_opensearch.templates import State, check_templates, install_templates
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.native.conftest import hits

ROAD = Road("csrm-new", "http://127.0.0.1:9/v2/rerank", ("new",), ("title",), window=5, budget_ms=1_000)


@pytest.fixture(scope="module")
def newest(newest_node: OpenSearchNode) -> Iterator[OpenSearch]:
    with OpenSearch(newest_node.url, timeout=60) as client:
        for number in range(8):
            body = {"title": "shoe " * (8 - number)}
            client.index(index="new", id=str(number), body=body, params={"refresh": "true"})
        yield client


def test_the_plugins_that_are_missing_are_named(newest: OpenSearch) -> None:
    with pytest.raises(PluginsMissingError, match=r"lacks opensearch-ml, opensearch-neural-search: install"):
        install(newest, ROAD, change_settings=True)
    with pytest.raises(PluginsMissingError):
        uninstall(newest, ROAD.name)
    (check,) = examine(newest, ROAD)
    assert (check.step, check.well) == ("cluster", False)
    assert check.remedy.startswith("install the plugins on every node")
    assert newest.cluster.get_settings()["persistent"] == {}


def test_the_window_of_our_pipelines(newest: OpenSearch) -> None:
    """The processors around the model: page 1 is cut from a window, totals and other pages are as they were."""
    body = pipeline_body(ROAD, "none")
    body["response_processors"] = body["response_processors"][-1:]
    newest.search_pipeline.put(id="window", body=body)

    def found(**search: Any) -> dict[str, Any]:
        query = {"query": {"match": {"title": "shoe"}}} | search
        answer: dict[str, Any] = newest.search(index="new", body=query, params={"search_pipeline": "window"})
        return answer

    assert len(hits(found(size=3))) == 3
    assert len(hits(found(size=3, **{"from": 6}))) == 2
    assert len(hits(found())) == 8
    assert hits(found(size=0)) == []
    assert found(size=3)["hits"]["total"]["value"] == 8


def test_the_index_templates(newest: OpenSearch) -> None:
    install_templates(newest)
    assert {finding.state for finding in check_templates(newest)} == {State.CURRENT}
    title = {"title": "휴대폰케이스 투명", "brand": "Ödla"}
    newest.index(index="shop-new", id="1", body=title, params={"refresh": "true"})
    assert hits(newest.search(index="shop-new", body={"query": {"match": {"title.cjk": "케이스"}}})) == ["1"]
