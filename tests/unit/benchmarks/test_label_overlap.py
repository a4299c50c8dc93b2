"""Overlap and length by label: what is counted is what stands there."""

from __future__ import annotations

from benchmarks.label_overlap import Cell, cells, overlap, table
from csrm.training.data import TrainingRow


def row(query: str, title: str, label: str, locale: str = "en") -> TrainingRow:
    return TrainingRow(query=query, title=title, label=label, locale=locale)


def test_a_title_with_all_of_the_query_and_one_with_none() -> None:
    assert overlap(row("red case", "A red CASE", "E")) > 0.9
    assert overlap(row("red case", "Lamp", "I")) == 0.0
    assert 0 < overlap(row("手機殼", "手機架", "C")) < 1  # letters count where there are no words


def test_labels_are_told_apart_and_doubtful_ones_left_out() -> None:
    rows = [
        row("red", "red", "E"),
        row("red", "blue!", "E"),
        row("red", "x" * 9, "I"),
        row("red", "red", "ECI"),
        row("red", "red", "E", "ko"),
    ]
    found = cells(rows)
    assert found["en", "E"] == Cell(2, 0.5, 4.0)
    assert found["en", "I"] == Cell(1, 0.0, 9.0)
    assert set(found) == {("en", "E"), ("en", "I"), ("ko", "E")}
    lines = table({"mine": rows}).splitlines()
    assert lines[2] == "| mine | en | 2, 0.50, 4 |  |  | 1, 0.00, 9 |"
    assert lines[3].startswith("| mine | ko | 1, 1.00, 3 |")
    assert len({line.count("|") for line in lines}) == 1


def test_no_rows_make_no_line() -> None:
    assert cells([]) == {}
    assert table({"none": []}).count("\n") == 1
