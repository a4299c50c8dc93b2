"""Knowledge out of a cluster: the OpenSearch side reads, the rules of ``csrm.knowledge.builders`` make entries.

A long reading of UBI records may be cut off. What is done is kept beside the file that is being built, as
entries, which tell of no client; the next run goes on behind it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
from opensearchpy import OpenSearch

from csrm.knowledge import KnowledgeEntry, QueryEntry
from csrm.knowledge.builders.choices import ChoiceRules, Interaction, Product, choices, from_choices
from csrm.knowledge.builders.products import Counts, attribute_terms, brand_terms
from csrm.knowledge.builders.products import categories as category_entries
from csrm_opensearch.product_facts import ProductFields, categories, titles, values_by_category
from csrm_opensearch.ubi import UbiPage, UbiSource, read_ubi


def from_ubi(
    client: OpenSearch,
    source: UbiSource,
    products: str,
    fields: ProductFields,
    rules: ChoiceRules,
    *,
    locale: str | None,
    kept: Path,
) -> list[QueryEntry]:
    """Query entries; ``kept`` is where a run that is cut off leaves what it has, and the next one goes on.

    Raises:
        csrm_opensearch.errors.UnreachableError: OpenSearch went away; run again.
        csrm_opensearch.errors.ClusterRefusedError
    """
    asked = orjson.dumps([repr(source), products, repr(fields), rules.model_dump(), locale])
    progress = _Progress(kept, hashlib.sha256(asked).hexdigest())
    found, after = progress.read()
    for page in read_ubi(client, source, min_clients=rules.min_clients, after=after):
        made = _entries(client, page, products, fields, rules, locale)
        progress.add(made, page.after)
        found += made
    kept.unlink(missing_ok=True)
    best: dict[str, QueryEntry] = {}
    for entry in found:  # "TV" and "tv" are far apart in the order of reading
        if entry.id not in best or entry.weight > best[entry.id].weight:
            best[entry.id] = entry
    return list(best.values())


def from_products(
    client: OpenSearch, index: str, fields: ProductFields, attributes: list[str], *, locale: str
) -> list[KnowledgeEntry]:
    """Brands, values of the attributes, and categories of a product index.

    Raises:
        csrm_opensearch.errors.UnreachableError, csrm_opensearch.errors.ClusterRefusedError
    """
    entries: list[KnowledgeEntry] = []
    entries += brand_terms(_counts(client, index, fields.brand, fields.category))
    for attribute in attributes:
        entries += attribute_terms(_counts(client, index, attribute, fields.category), locale=locale)
    entries += category_entries(categories(client, index, fields.category), locale=locale)
    return list({entry.id: entry for entry in entries}.values())  # a value may be one of two attributes


def _counts(client: OpenSearch, index: str, field: str, category: str) -> list[Counts]:
    found = values_by_category(client, index, field, category)
    return [Counts(value, by_category) for value, by_category in found.items()]


def _entries(
    client: OpenSearch,
    page: UbiPage,
    products: str,
    fields: ProductFields,
    rules: ChoiceRules,
    locale: str | None,
) -> list[QueryEntry]:
    seen = [Interaction(one.query, one.client, one.product, one.action, one.position) for one in page.chosen]
    chosen = choices(seen, page.askers, rules)
    ids = sorted({product for choice in chosen for product in choice.products})
    shop = {id: Product(*said) for id, said in titles(client, products, ids, fields).items()}
    return from_choices(chosen, shop, rules, locale=locale)


class _Progress:
    """A file of JSON lines: what was asked for, then one line a page. Of another request it is begun anew."""

    def __init__(self, path: Path, asked: str) -> None:
        self._path, self._asked = path, asked

    def read(self) -> tuple[list[QueryEntry], dict[str, Any] | None]:
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        if not lines or lines[0] != self._asked.encode():
            self._path.write_bytes(self._asked.encode() + b"\n")
            return [], None
        pages = []
        for line in lines[1:]:
            try:
                pages.append(orjson.loads(line))
            except orjson.JSONDecodeError:  # cut off in the middle of a line: its page is read again
                break
        whole = b"".join(line + b"\n" for line in lines[: len(pages) + 1])
        self._path.write_bytes(whole)
        found = [QueryEntry.model_validate(entry) for page in pages for entry in page["entries"]]
        return found, pages[-1]["after"] if pages else None

    def add(self, entries: list[QueryEntry], after: dict[str, Any]) -> None:
        line = {"after": after, "entries": [entry.model_dump(mode="json") for entry in entries]}
        with self._path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
