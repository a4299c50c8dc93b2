"""Grades of labelled rows by a relevance model, with knowledge as it is served. Knows no figures."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import Bundle
from csrm.errors import InputError
from csrm.evaluation.bootstrap import SEED
from csrm.model import RelevanceModel
from csrm.wire import Level

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair


Knowledge = Callable[[str, str], Sequence[str]]
"""(query, locale) -> lines for the prompt, best first."""


def bundle_knowledge(bundle: Bundle) -> Knowledge | None:
    """What a bundle's own knowledge says of a query; null where it has none.

    Raises:
        KnowledgeError: the snapshot is broken, or its embedding engine is not the one installed.
    """
    if bundle.knowledge_path is None:
        return None
    from csrm.knowledge import KnowledgeSnapshot, Retriever, load_embedder

    snapshot = KnowledgeSnapshot.load(bundle.knowledge_path)
    retriever = Retriever(snapshot, load_embedder(snapshot.embedder.name))
    return lambda query, locale: [found.line for found in retriever.retrieve(query, locale)]


def wrong_knowledge(rows: Sequence[LabelledPair], knowledge: Knowledge, seed: int = SEED) -> Knowledge:
    """Another query's notes in the place of a query's own: what a model should not be harmed by.

    Each query is told what ``knowledge`` says of another one of the rows, whatever its locale; never what it says of
    the query itself, and never nothing.

    Args:
        rows: whose queries there are.
        knowledge: what is right.
        seed: of who is told what.

    Raises:
        InputError: the knowledge says too little of these queries to mislead them.
    """
    own = {key: tuple(knowledge(*key)) for key in dict.fromkeys((row.query, row.locale) for row in rows)}
    told = [lines for lines in dict.fromkeys(own.values()) if lines]
    chance = random.Random(f"{seed}/wrong knowledge")
    wrong: dict[tuple[str, str], Sequence[str]] = {}
    for key, lines in own.items():
        others = [other for other in told if not set(other) & set(lines)]
        if not others:
            raise InputError(
                "knowledge: the bundle says too little of these queries to tell one of another's."
            )
        wrong[key] = chance.choice(others)
    return lambda query, locale: wrong[query, locale]


def grade_rows(
    model: RelevanceModel,
    rows: Sequence[LabelledPair],
    knowledge: Knowledge | None = None,
    *,
    level: Level = "full",
    on_graded: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Grade probabilities (n, 4) of rows, in their order; each query's prefix is run once.

    Args:
        model: grades.
        rows: labelled pairs; the labels are not looked at.
        knowledge: asked once a query; none where null.
        level: ``fast`` for those of the early exit.
        on_graded: called after each query with the number of its rows.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.locale, row.query].append(index)
    grades = np.empty((len(rows), 4), dtype=np.float32)
    for (locale, query), members in groups.items():
        lines = knowledge(query, locale) if knowledge else ()
        titles = [rows[i].title for i in members]
        grades[members] = model.grade(query, titles, locale=locale, knowledge=lines, level=level)
        if on_graded:
            on_graded(len(members))
    return grades
