"""Files of entries: every fault by line and field, and a round trip."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge import (
    CategoryEntry,
    QueryEntry,
    TermEntry,
    check_entries,
    dump_entries,
    read_entries,
    write_entries,
)

GOOD = b'{"kind":"term","id":"%s","source":"s","term":"AJ1","meaning":"Air Jordan 1"}\n'


def test_every_fault_is_listed_and_the_good_entries_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    file.write_bytes(
        b"\xef\xbb\xbf" + GOOD % b"a"
        + b"\n"
        + b"{not json\n"
        + b'{"kind":"term","id":"b","source":"s","term":"","meaning":"x","weight":-1}\n'
        + b'{"kind":"term","id":"\xff"}\n'
        + GOOD % b"a"
        + b"[1]\n"
        + GOOD % b"c"
    )  # fmt: skip
    report = check_entries(file)
    assert [entry.id for entry in report.entries] == ["a", "c"]
    assert [(fault.line, fault.field) for fault in report.faults] == [
        (3, ""), (4, "weight"), (4, "term"), (5, ""), (6, "id"), (7, ""),
    ]  # fmt: skip
    assert str(report.faults[4]) == "line 6, field id: 'a' is already on line 1"
    assert "not UTF-8" in report.faults[3].reason


def test_reading_refuses_a_file_with_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    file.write_bytes(GOOD % b"a" + b'{"kind":"term","id":"b"}\n')
    with pytest.raises(KnowledgeError, match=r"entries\.jsonl, line 2, field source: .*\(2 more\); correct"):
        read_entries(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"none\.jsonl.*check the path"):
        read_entries(tmp_path / "none.jsonl")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    entries = [
        TermEntry(id="t", source="s", locale="ko", term="에어팟", meaning="AirPods", aliases=["airpods"]),
        QueryEntry(
            id="q", source="s", query="case", titles=["Slim case"], weight=2.5, date=datetime.date(2025, 3, 1)
        ),
        CategoryEntry(id="c", source="s", paths={"en": "A > B", "zh-TW": "甲 > 乙"}),
    ]
    file = tmp_path / "entries.jsonl"
    file.write_bytes(dump_entries(entries))
    assert read_entries(file) == entries


def test_a_file_is_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    entry = TermEntry(id="a", source="s", term="AJ1", meaning="Air Jordan 1")
    write_entries(file, [entry])
    assert read_entries(file) == [entry]

    def breaks() -> Iterator[TermEntry]:
        yield entry.model_copy(update={"id": "b"})
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_entries(file, breaks())
    assert read_entries(file) == [entry]
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(KnowledgeError, match="Cannot write the knowledge entries"):
        write_entries(tmp_path / "none" / "entries.jsonl", [entry])
