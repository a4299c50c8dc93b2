"""A CSV of terms: what it may say, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm.errors import KnowledgeError
from csrm.knowledge.builders.terms import read_terms


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "terms.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_become_terms(tmp_path: Path) -> None:
    text = 'term,meaning,aliases,locale,weight\nAJ1,"Air Jordan 1, a shoe",에어조던1 | aj 1,en,2\n에눌,smart watch,,,\n'
    one, two = read_terms(csv(tmp_path, "\ufeff" + text), source="ours")
    assert (one.term, one.meaning, one.aliases) == ("AJ1", "Air Jordan 1, a shoe", ["에어조던1", "aj 1"])
    assert (one.locale, one.weight, one.source) == ("en", 2.0, "ours")
    assert (two.term, two.aliases, two.locale, two.weight) == ("에눌", [], None, 1.0)


def test_a_brand_may_have_to_be_typed(tmp_path: Path) -> None:
    text = "term,meaning,only_typed\nBosch,tools,true\nAJ1,a shoe,\n"
    assert [entry.only_typed for entry in read_terms(csv(tmp_path, text))] == [True, False]
    with pytest.raises(KnowledgeError, match=r"line 2.*only_typed"):
        read_terms(csv(tmp_path, "term,meaning,only_typed\nBosch,tools,perhaps\n"))


def test_ids_depend_on_term_and_locale_alone(tmp_path: Path) -> None:
    ids = [
        [entry.id for entry in read_terms(csv(tmp_path, text))]
        for text in ("term,meaning\nAJ1,a\n에눌,b\n", "meaning,term\nchanged,에눌\nc, ＡＪ1\n")
    ]
    assert ids[0] == ids[1][::-1]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("word,meaning\na,b\n", r"the header must be term,meaning .*look at term, word"),
        ("", r"the header must be term,meaning"),
        ("term,meaning\na,b\n ,c\n", r"terms\.csv, line 3: .*field term"),
        ("term,meaning\na\n", r"line 2: as many fields as columns"),
        ("term,meaning\na,b,c\n", r"line 2: as many fields as columns"),
        ("term,meaning,locale\na,b,english\n", r"line 2: .*field locale"),
        ("term,meaning,weight\na,b,heavy\n", r"line 2: .*field weight"),
        ("term,meaning\na," + "x" * 100_000 + "\n", r"line 2: .*field meaning"),
        ('term,meaning\na,"b\n', r"is not CSV"),
        (b"term,meaning\na,\xff\n", r"is not UTF-8 \(byte 16\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(KnowledgeError, match=said):
        read_terms(csv(tmp_path, text))


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="Cannot read the terms"):
        read_terms(tmp_path / "none.csv")
