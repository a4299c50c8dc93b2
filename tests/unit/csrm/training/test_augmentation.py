"""Knowledge for training rows: what a search log would hold, never a row's own query, missing and wrong as often as
said; and rows of like length together, so that little is padded."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge import Embedder
from csrm.training.augmentation import knowledge_lines
from csrm.training.data import TrainingRow
from csrm.training.recipe import KnowledgeSettings, Recipe
from csrm.training.trainer import Trainer

from .conftest import write_lines

ALWAYS = KnowledgeSettings(dropout=0, wrong=0)


def row(query: str, title: str, label: str = "E", locale: str = "en", **more: Any) -> TrainingRow:
    return TrainingRow(query=query, title=title, label=label, locale=locale, **more)


ROWS = [
    row("wireless mouse", "Logitech wireless optical mouse"),
    row("wireless optical mouse", "Microsoft wireless mouse, black"),
    row("wireless optical mouse", "Mouse pad", "C"),
    row("raton inalambrico", "Raton inalambrico negro", locale="es", query_en="wireless mouse"),
    row("garden gnome", "Garden gnome with lantern"),
    row("garden gnome lantern", "Gnome, lit by the sun", "ES"),
]


def test_a_row_sees_what_others_chose_and_never_its_own(embedder: Embedder) -> None:
    lines = knowledge_lines(ROWS, ALWAYS, 1, embedder)
    mouse, optical, pad, spanish, gnome, lantern = lines
    assert any("Microsoft" in line for line in mouse)
    assert any("Logitech" in line for line in optical)
    assert pad == optical, "a row of the same query sees the same"
    assert any("Garden gnome with lantern" in line for line in lantern)
    for own in ("Logitech", "Raton"):
        assert not any(own in line for line in mouse + spanish), "its own, or the one it was rewritten from"
    told = [line for part in lines for line in part]
    assert not any("Mouse pad" in line or "lit by the sun" in line for line in told), (
        "only what is surely exact"
    )
    assert gnome == []


def test_a_row_that_is_seen_several_times_was_chosen_once(embedder: Embedder) -> None:
    once = knowledge_lines(ROWS, ALWAYS, 1, embedder)
    assert knowledge_lines([one for one in ROWS for _ in range(3)], ALWAYS, 1, embedder) == [
        lines for lines in once for _ in range(3)
    ]


def test_entries_of_a_file_stand_beside_those_of_the_rows(embedder: Embedder, tmp_path: Path) -> None:
    term = {"kind": "term", "id": "t", "source": "mine", "term": "gnome", "meaning": "a small garden figure"}
    file = write_lines(tmp_path / "entries.jsonl", [term])
    settings = ALWAYS.model_copy(update={"entries": [file, file]})
    lines = knowledge_lines(ROWS, settings, 1, embedder)
    assert any("garden figure" in line for line in lines[4])
    assert any("Microsoft" in line for line in lines[0])
    alone = knowledge_lines(ROWS, settings.model_copy(update={"from_rows": False}), 1, embedder)
    assert any("garden figure" in line for line in alone[4])
    assert alone[0] == []


def test_texts_that_are_too_long_for_an_entry_are_cut_and_locales_that_are_none_named(
    embedder: Embedder,
) -> None:
    long = [
        row("wireless mouse", "Logitech " * 3_000),
        row("wireless mouse " + "x" * 9_000, "Microsoft mouse"),
    ]
    assert any("Logitech" in line for line in knowledge_lines(long, ALWAYS, 1, embedder)[1])
    with pytest.raises(KnowledgeError, match="locale"):
        knowledge_lines([row("a", "b", locale="english!")], ALWAYS, 1, embedder)


def test_notes_are_missing_and_wrong_as_often_as_said_and_the_same_by_the_seed(embedder: Embedder) -> None:
    settings = KnowledgeSettings(dropout=0.4, wrong=0.2)
    rows = ROWS * 300
    lines = knowledge_lines(rows, settings, 1, embedder)
    assert lines == knowledge_lines(rows, settings, 1, embedder)
    assert lines != knowledge_lines(rows, settings, 2, embedder)
    right = knowledge_lines(ROWS, ALWAYS, 1, embedder)[0]
    assert right
    of_first = lines[:: len(ROWS)]
    missing = sum(not found for found in of_first) / len(of_first)
    wrong = sum(found not in ([], right) for found in of_first) / len(of_first)
    assert missing == pytest.approx(0.4, abs=0.1)
    others = {tuple(found) for found in of_first} - {(), tuple(right)}
    assert others, "another query's"
    assert 0.05 < wrong <= 0.3  # some of the wrong ones are drawn from the row's own


@pytest.mark.parametrize("share", [{"dropout": 1, "wrong": 0}, {"dropout": 0, "wrong": 1}])
def test_notes_of_all_rows_are_missing_or_wrong(share: dict[str, float], embedder: Embedder) -> None:
    lines = knowledge_lines(ROWS, KnowledgeSettings(**share), 1, embedder)  # type: ignore[arg-type]
    assert all(lines) if share["wrong"] else not any(lines)


def test_batches_hold_no_more_than_they_may_and_little_padding(settings: dict[str, Any]) -> None:
    trainer = Trainer(Recipe.model_validate(settings), device="cpu")
    chance = random.Random(5)
    lengths = [chance.randint(20, 120) for _ in range(5_000)]
    found = list(trainer._epoch(lengths, random.Random(1)))
    assert sorted(place for rows, _ in found for place in rows) == list(range(5_000))
    wide = [len(rows) * max(lengths[place] for place in rows) for rows, _ in found]
    assert max(wide) <= trainer.recipe.batch_tokens
    assert [tokens for _, tokens in found] == [sum(lengths[place] for place in rows) for rows, _ in found]
    assert sum(wide) <= 1.02 * sum(lengths)
    longest = [max(lengths[place] for place in rows) for rows, _ in found]
    assert longest != sorted(longest), "short rows do not come first"
    assert longest != sorted(longest, reverse=True), "nor do long ones"
    assert [rows for rows, _ in trainer._epoch(lengths, random.Random(2))] != [rows for rows, _ in found]
