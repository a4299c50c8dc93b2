"""The shipped templates on a real node: installed once, compared, used by new indices, never over others'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opensearchpy import OpenSearch

from csrm_opensearch.cluster import connect
from csrm_opensearch.errors import ClusterRefusedError, TemplateConflictError, UnreachableError
from csrm_opensearch.templates import (
    Finding,
    State,
    check_templates,
    install_templates,
    load_templates,
)
from csrm_opensearch.testing import OpenSearchNode

PRODUCTS = {
    "en": {"title": "Cases for running phones", "brand": "Ödla", "category": "Phones > Cases", "price": 9.9},
    "es": {"title": "Fundas para teléfonos", "brand": "Ödla", "category": "Phones > Cases", "price": 8.5},
    "ko": {"title": "휴대폰케이스 투명", "brand": "Ödla", "category": "Phones > Cases", "price": 7},
    "ja": {"title": "スマホケース クリア", "brand": "Ödla", "category": "Phones > Cases", "price": 6},
    "zh-TW": {"title": "手機保護殼 透明", "brand": "Ödla", "category": "Phones > Cases", "price": 5},
}


@pytest.fixture
def bare(client: OpenSearch) -> Iterator[OpenSearch]:
    """A client of a cluster without our templates, which are installed again afterwards for other tests."""
    for template in load_templates():
        if client.indices.exists_index_template(name=template.name):
            client.indices.delete_index_template(name=template.name)
    yield client
    install_templates(client, force=True)


@pytest.fixture
def shop(client: OpenSearch, index_name: str) -> str:
    """An index that the products template applies to, with one product a language."""
    install_templates(client)
    index = f"shop-{index_name}"
    for locale, product in PRODUCTS.items():
        client.index(index=index, id=locale, body=product | {"locale": locale}, refresh=True)
    return index


def states(findings: list[Finding]) -> dict[str, State]:
    return {finding.name: finding.state for finding in findings}


def found(client: OpenSearch, index: str, query: dict[str, object]) -> set[str]:
    hits = client.search(index=index, body={"query": query})["hits"]["hits"]
    return {hit["_id"] for hit in hits}


def test_install_twice(bare: OpenSearch) -> None:
    missing = {"csrm-knowledge": State.MISSING, "csrm-products": State.MISSING}
    current = dict.fromkeys(missing, State.CURRENT)
    assert states(check_templates(bare)) == missing
    assert states(install_templates(bare)) == missing
    assert states(install_templates(bare)) == current
    assert states(check_templates(bare)) == current


def test_drift_is_shown_and_mended(bare: OpenSearch) -> None:
    install_templates(bare)
    changed = next(template.body for template in load_templates() if template.name == "csrm-products")
    changed["template"]["settings"]["index.number_of_shards"] = 3
    bare.indices.put_index_template(name="csrm-products", body=changed)
    products = check_templates(bare)[1]
    assert products.state is State.DRIFTED
    assert products.differences == [
        "template.settings.index.number_of_shards: 1 in the file, 3 in the cluster"
    ]
    install_templates(bare)
    assert check_templates(bare)[1].state is State.CURRENT


def test_template_of_others_is_left_alone_unless_forced(bare: OpenSearch) -> None:
    theirs = {"index_patterns": ["their-products-*"], "template": {"settings": {"number_of_shards": 2}}}
    bare.indices.put_index_template(name="csrm-products", body=theirs)
    with pytest.raises(TemplateConflictError, match="csrm-products: rename them, or use --force"):
        install_templates(bare)
    assert states(check_templates(bare)) == {
        "csrm-knowledge": State.MISSING,
        "csrm-products": State.FOREIGN,
    }
    install_templates(bare, force=True)
    assert check_templates(bare)[1].state is State.CURRENT


def test_pattern_that_another_template_has_is_explained(bare: OpenSearch) -> None:
    theirs = {"index_patterns": ["shop-*"], "priority": 200}
    bare.indices.put_index_template(name="their-shop", body=theirs)
    try:
        with pytest.raises(ClusterRefusedError, match=r"their-shop.*same priority"):
            install_templates(bare)
    finally:
        bare.indices.delete_index_template(name="their-shop")


def test_nobody_there() -> None:
    with connect("http://127.0.0.1:1") as client, pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        install_templates(client)


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("title.en", "case phone", {"en"}),  # stems: cases, phones
        ("title.es", "funda telefono", {"es"}),  # stems, and the accent does not matter
        ("title.cjk", "케이스", {"ko"}),  # inside a longer word
        ("title.cjk", "ケース", {"ja"}),
        ("title.cjk", "保護", {"zh-TW"}),
        ("title", "phones", {"en"}),  # as written
        ("title", "phone", set()),
        ("brand.text", "ödla", set(PRODUCTS)),
        ("brand", "Ödla", set(PRODUCTS)),
        ("brand", "ödla", set()),  # exact
        ("category.text", "cases", set(PRODUCTS)),
        ("category", "Phones > Cases", set(PRODUCTS)),
    ],
)
def test_product_is_found_by(
    client: OpenSearch, shop: str, field: str, text: str, expected: set[str]
) -> None:
    assert found(client, shop, {"match": {field: {"query": text, "operator": "and"}}}) == expected


def test_product_attributes_are_exact_values(client: OpenSearch, shop: str) -> None:
    client.index(
        index=shop, id="new", body={"title": "x", "price": "12.5", "material": "Faux leather"}, refresh=True
    )
    assert found(client, shop, {"term": {"material": "Faux leather"}}) == {"new"}
    assert found(client, shop, {"range": {"price": {"gte": 9, "lt": 10}}}) == {"en"}


def test_settings_of_the_index_go_before_the_template(client: OpenSearch, index_name: str) -> None:
    install_templates(client)
    index = f"shop-{index_name}"
    client.indices.create(index=index, body={"settings": {"number_of_shards": 2}})
    settings = client.indices.get_settings(index=index)[index]["settings"]["index"]
    assert (settings["number_of_shards"], settings["number_of_replicas"]) == ("2", "0")


def test_knowledge_entries_of_every_kind(client: OpenSearch, index_name: str) -> None:
    install_templates(client)
    index = f"csrm-knowledge-{index_name}"
    entries = [
        {
            "id": "t1",
            "kind": "term",
            "term": "에어팟",
            "meaning": "AirPods",
            "aliases": ["airpod", "エアポッズ"],
        },
        {"id": "q1", "kind": "query", "query": "phone cases", "titles": ["Slim case"], "date": "2026-01-31"},
        {"id": "c1", "kind": "category", "paths": {"en": "Phones > Cases", "zh-TW": "手機 > 保護殼"}},
    ]
    for entry in entries:
        client.index(index=index, id=entry["id"], body=entry | {"source": "test"}, refresh=True)
    assert found(client, index, {"match": {"search_text.cjk": "エアポッズ"}}) == {"t1"}
    assert found(client, index, {"match": {"search_text.en": "phone case"}}) == {"q1"}
    assert found(client, index, {"term": {"paths.zh-TW": "手機 > 保護殼"}}) == {"c1"}
    assert found(client, index, {"term": {"kind": "term"}}) == {"t1"}


def test_command(opensearch: OpenSearchNode, bare: OpenSearch) -> None:
    from typer.testing import CliRunner

    from csrm_cli.commands.install import app

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["templates", "--opensearch", opensearch.url, *options])
        return result.exit_code, result.output

    assert run("--check") == (1, "csrm-knowledge: missing\ncsrm-products: missing\n")
    assert run() == (0, "csrm-knowledge: installed, was missing\ncsrm-products: installed, was missing\n")
    assert run() == (0, "csrm-knowledge: current\ncsrm-products: current\n")
    assert run("--check") == (0, "csrm-knowledge: current\ncsrm-products: current\n")
    bare.indices.delete_index_template(name="csrm-products")
    assert run("--check") == (1, "csrm-knowledge: current\ncsrm-products: missing\n")
