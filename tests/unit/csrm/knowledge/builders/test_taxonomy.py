"""A taxonomy table, a file a language, joined by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge.builders.taxonomy import read_taxonomy


def test_languages_are_joined_by_id(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("# Version: 1\n166 - Apparel\n\n1604 - Apparel > Clothing\n9 - Only here\n")
    (tmp_path / "ko").write_text("\ufeff1604 - 의류 > 옷\n166 - 의류\n")
    entries = read_taxonomy({"en": tmp_path / "en", "ko": tmp_path / "ko"})
    assert [(entry.id, entry.paths) for entry in entries] == [
        ("taxonomy-166", {"en": "Apparel", "ko": "의류"}),
        ("taxonomy-1604", {"en": "Apparel > Clothing", "ko": "의류 > 옷"}),
        ("taxonomy-9", {"en": "Only here"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"1 - A\nB > C\n", r"line 2: must read"),
        (b"1 - A\n1 - B\n", r"line 2: the id 1 is there twice"),
        (b"1 - \xff\n", r"is not UTF-8 \(byte 5\)"),
        (b"1 - " + b"x" * 100_000 + b"\n", r"field paths\.en"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "en").write_bytes(text)
    with pytest.raises(KnowledgeError, match=said):
        read_taxonomy({"en": tmp_path / "en"})


def test_a_missing_file_and_an_unknown_locale_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="Cannot read the taxonomy"):
        read_taxonomy({"en": tmp_path / "none"})
    (tmp_path / "x").write_text("1 - A\n")
    with pytest.raises(KnowledgeError, match="field paths"):
        read_taxonomy({"english": tmp_path / "x"})
