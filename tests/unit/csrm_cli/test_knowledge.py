"""``csrm knowledge`` on real files with the real engine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from csrm.bundle import load_bundle
from csrm.errors import BundleError, KnowledgeError
from csrm.knowledge import KnowledgeSnapshot, TermEntry, dump_entries, read_entries
from csrm_cli.commands.knowledge import app

ENTRIES = [
    TermEntry(id=f"t{n}", source="test", term=f"word {n}", meaning=f"thing number {n}") for n in range(20)
]


def csrm(*arguments: object) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output.splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "entries.jsonl"
    path.write_bytes(dump_entries(ENTRIES))
    return path


def test_a_good_file_is_valid(file: Path) -> None:
    assert csrm("validate", file) == (0, ["20 good entries"])


def test_every_fault_is_told_with_line_and_field(file: Path) -> None:
    good = file.read_bytes().splitlines(keepends=True)
    bad = [
        b'{"kind": "term", "id": "x", "source": "s", "term": " ", "meaning": "' + b"m" * 600 + b'"}\n',
        b"\xff\xfe\n",
        b'{"kind": "recipe"}\n',
        good[0],
    ]
    file.write_bytes(b"".join([*good[:2], *bad, *good[2:]]))
    code, said = csrm("validate", file)
    assert code == 1
    assert [line.removeprefix(f"{file}, ") for line in said] == [
        "line 3, field term: must not be blank",
        "line 3, field meaning: String should have at most 500 characters",
        "line 4: not UTF-8 (byte 1 of the line)",
        "line 5, field kind: must be one of query, term, category",
        "line 6, field id: 't0' is already on line 1",
        "20 good entries, 4 with faults",
    ]


def test_a_snapshot_is_built_and_then_left_as_it_is(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "snapshot"
    code, said = csrm("snapshot", file, "--out", out)
    built = KnowledgeSnapshot.load(out)
    assert (code, said) == (0, [f"{out}: knowledge {built.version}, 20 entries"])
    assert built.entries == sorted(ENTRIES, key=lambda entry: entry.id)

    written = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    began = time.process_time()
    assert csrm("snapshot", file, "--out", out) == (0, [f"{said[0]}; as it was"])
    assert time.process_time() - began < 1
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == written

    file.write_bytes(dump_entries(ENTRIES[1:]))
    assert csrm("snapshot", file, "--out", out)[0] == 0
    assert len(KnowledgeSnapshot.load(out).entries) == 19


def test_a_bundles_entries_come_beside_a_shops_own(file: Path, tmp_path: Path) -> None:
    folder = Path(str(load_bundle("default").knowledge_path))
    shipped = read_entries(folder / "entries.jsonl")
    mine = ENTRIES[0].model_copy(update={"id": shipped[0].id})
    file.write_bytes(dump_entries([*ENTRIES, mine]))
    out = tmp_path / "snapshot"
    assert csrm("snapshot", file, "--beside", "default", "--out", out)[0] == 0
    found = {entry.id: entry for entry in KnowledgeSnapshot.load(out).entries}
    assert len(found) == len(ENTRIES) + len(shipped)
    assert found[mine.id] == mine and found[shipped[-1].id] == shipped[-1]
    with pytest.raises(BundleError, match="no-such-bundle"):
        csrm("snapshot", file, "--beside", "no-such-bundle", "--out", out)


def test_a_broken_snapshot_is_replaced(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "snapshot"
    csrm("snapshot", file, "--out", out)
    (out / "vectors.safetensors").write_bytes(b"")
    (out / "meta.json").write_text("{}")
    assert csrm("snapshot", file, "--out", out)[0] == 0
    assert len(KnowledgeSnapshot.load(out).entries) == 20


def test_a_faulty_file_makes_no_snapshot(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"nonsense\n" + file.read_bytes())
    with pytest.raises(KnowledgeError, match=r"entries\.jsonl, line 1: not JSON"):
        csrm("snapshot", file, "--out", tmp_path / "snapshot")
    assert not (tmp_path / "snapshot").exists()


def test_a_build_adds_what_is_new_and_says_it_first_when_asked(tmp_path: Path) -> None:
    csv, into = tmp_path / "terms.csv", tmp_path / "entries.jsonl"
    csv.write_text("term,meaning\nAJ1,Air Jordan 1\n에눌,a jargon word\n")
    code, said = csrm("build", "terms", csv, "--into", into, "--dry-run")
    assert code == 0
    assert [line.partition(": ")[2] for line in said] == [
        "AJ1 = Air Jordan 1",
        "에눌 = a jargon word",
        "2 new, 0 changed, 0 as they were, 2 in all (not written)",
    ]
    assert not into.exists()
    assert csrm("build", "terms", csv, "--into", into)[1][-1].endswith(
        "2 new, 0 changed, 0 as they were, 2 in all"
    )
    csv.write_text("term,meaning\nAJ1,Air Jordan 1 sneaker\n")
    assert csrm("build", "terms", csv, "--into", into, "--dry-run")[1][0].startswith("~ terms-")
    assert csrm("build", "terms", csv, "--into", into)[1][-1].endswith(
        "0 new, 1 changed, 0 as they were, 2 in all"
    )
    assert {entry.meaning for entry in read_entries(into)} == {"Air Jordan 1 sneaker", "a jargon word"}


def test_a_taxonomy_and_judgments_go_into_one_file(tmp_path: Path) -> None:
    into = tmp_path / "entries.jsonl"
    (tmp_path / "en.txt").write_text("1 - Shoes\n")
    (tmp_path / "ko.txt").write_text("1 - 신발\n")
    rows = [{"query": "aj1", "title": "Air Jordan 1", "label": label, "locale": "en"} for label in "EI"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert csrm("build", "taxonomy", f"en={tmp_path}/en.txt", f"ko={tmp_path}/ko.txt", "--into", into)[0] == 0
    assert csrm("build", "judgments", tmp_path / "rows.jsonl", "--into", into)[0] == 0
    assert [entry.kind for entry in read_entries(into)] == ["category", "query"]
    assert csrm("validate", into) == (0, ["2 good entries"])
    assert csrm("build", "taxonomy", "en.txt", "--into", into)[0] == 2


def test_what_the_model_is_told_of_a_query_is_shown(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "snapshot"
    csrm("snapshot", file, "--out", out)
    assert csrm("find", out, "WORD 7 cheap", "--locale", "en") == (0, ["word 7 = thing number 7  [t7, 1.00]"])
    assert csrm("find", out, "冷蔵庫") == (0, [])
