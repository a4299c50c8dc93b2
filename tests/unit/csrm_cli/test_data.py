"""``csrm data``: tables become rows, and a check finds all that is wrong with files of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from csrm.errors import InputError
from csrm.training.data import read_pairs
from csrm_cli.commands.data import app


def csrm(*arguments: object) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output.splitlines()


def rows(path: Path, *said: tuple[str, str, str]) -> Path:
    made = [{"query": q, "title": t, "label": label, "locale": "en"} for q, t, label in said]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_a_table_with_names_and_labels_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text(
        'term;name;rating\ncase;"Red; case";3\ncase;Blue case;2\ncase;Gnome;0\n', encoding="utf-8-sig"
    )
    out = tmp_path / "out.jsonl"
    names = ["--query", "term", "--title", "name", "--label", "rating", "--locale", "ko", "--delimiter", ";"]
    grades = [part for grade in ("3=E", "2=S", "0=I") for part in ("--grade", grade)]
    code, said = csrm("csv", tmp_path / "judged.csv", "--out", out, *names, *grades)
    assert (code, said) == (0, [f"{out}: 3 rows (ko E 1, ko I 1, ko S 1)"])
    assert [(row.title, row.label) for row in read_pairs(out)] == [
        ("Red; case", "E"),
        ("Blue case", "S"),
        ("Gnome", "I"),
    ]
    with pytest.raises(InputError, match="exists already"):
        csrm("csv", tmp_path / "judged.csv", "--out", out, *names, *grades)


@pytest.mark.parametrize(
    ("content", "options", "named"),
    [
        ("", [], "is empty"),
        ("query,title,label,locale\n", [], "No rows"),
        ("query,title,label\nq,t,E\n", [], "line 1: there is no column locale"),
        ("query,title,label,locale\nq,t,E,en\nq,t,5,en\n", [], "line 3, field label: '5' is unknown"),
        ("query,title,label,locale\nq,t,5,en\n", [], "--grade LABEL=GRADE"),
        ("query,title,label,locale\nq,t,E,\n", [], "line 2, field locale"),
        ("query,title,label,locale\nq, ,E,en\n", [], "line 2, field title"),
        ("query,title,label,locale\nq,t\n", [], "line 2, field label: the line is cut off"),
        ("query,title,label,locale\nq,t,good,en\n", ["--grade", "good=A"], "'A' is no grade"),
        ("query,title,label,locale\nq,t,E,en\n", ["--delimiter", "ab"], "delimiter"),
    ],
)
def test_a_faulty_table_writes_nothing(content: str, options: list[str], named: str, tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text(content)
    with pytest.raises(InputError, match=named):
        csrm("csv", tmp_path / "judged.csv", "--out", tmp_path / "out.jsonl", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["judged.csv"]


def test_good_files_are_counted(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl", ("case", "red case", "E"), ("case", "gnome", "I"))
    assert csrm("validate", file) == (0, [f"{file}: 2 good rows (en E 1, en I 1)"])


def test_every_fault_is_told_with_line_and_field(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl", ("case", "red case", "E"), ("case", "gnome", "I"))
    good = file.read_text()
    file.write_text(
        good + '{"query": " ", "title": "t", "label": "X", "locale": "en"}\n\n[1]\nnonsense\n' + good
    )
    code, said = csrm("validate", file)
    assert code == 1
    assert [line.removeprefix(f"{file}") for line in said] == [
        ", line 3, field query: String should have at least 1 character",
        ", line 3, field label: Input should be 'E', 'S', 'C' or 'I'",
        ", line 5, field row: Input should be a valid dictionary or instance of LabelledPair",
        ", line 6: not JSON (Expecting value)",
        ": 4 good rows, 3 with faults (en E 2, en I 2)",
        f"2 rows repeat an earlier one, e.g. {file}, line 7 as {file}, line 1",
    ]


def test_noise_is_counted_and_no_reason_to_fail(tmp_path: Path) -> None:
    file = rows(
        tmp_path / "rows.jsonl",
        ("case", "red case", "E"),
        ("CASE ", "Ｒed case", "S"),
        ("case", "red case", "E"),
        ("case", "x" * 20_000, "I"),
    )
    code, said = csrm("validate", file)
    assert code == 0
    assert said[1:] == [
        f"{file}: 1 rows have a text of more than 2,000 characters, of which only the beginning is read, e.g. line 4",
        f"1 rows repeat an earlier one, e.g. {file}, line 3 as {file}, line 1",
        f"1 rows contradict an earlier one, e.g. {file}, line 2 says S, {file}, line 1 says E",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty."),
        ('{"query": "q", "title": "t", "label": "E", "locale": "en"}\n', "all rows are of one kind"),
        ("\udcff\n", "is not UTF-8"),
    ],
)
def test_what_cannot_be_measured_on_is_told(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    code, said = csrm("validate", file)
    assert code == 1
    assert told in said[-1] or told in said[0]


def test_a_missing_file_is_told_beside_the_others(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl", ("case", "red case", "E"), ("case", "gnome", "I"))
    code, said = csrm("validate", tmp_path / "none.jsonl", file)
    assert code == 1
    assert "none.jsonl cannot be read: No such file" in said[0]
    assert said[-1] == f"{file}: 2 good rows (en E 1, en I 1)"


def test_leaks_between_training_and_held_out_rows_are_found(tmp_path: Path) -> None:
    train = rows(tmp_path / "train.jsonl", ("case", "red case", "E"), ("case", "gnome", "I"))
    train.write_text(train.read_text() + '{"query": "pan", "title": "lid", "label": "CI", "locale": "en"}\n')
    dev = rows(tmp_path / "dev.jsonl", ("Case", "red  case", "E"), ("pan", "pan", "E"), ("pan", "gnome", "I"))
    code, said = csrm("validate", "--train", train, "--dev", dev)
    assert code == 1
    assert said[-1] == f"1 held-out rows are trained on, e.g. {dev}, line 1 is {train}, line 1"
    clean = rows(tmp_path / "clean.jsonl", ("pot", "pan", "E"), ("pot", "gnome", "I"))
    assert csrm("validate", "--train", train, "--dev", clean)[0] == 0
    assert csrm("validate")[0] == 2


def test_held_out_queries_that_are_trained_on_with_other_titles_are_counted(tmp_path: Path) -> None:
    train = rows(tmp_path / "train.jsonl", ("case", "red case", "E"), ("pan", "gnome", "I"))
    train.write_text(
        train.read_text()
        + '{"query": "olla", "title": "t", "label": "I", "locale": "es", "query_en": "Pot"}\n'
    )
    dev = rows(
        tmp_path / "dev.jsonl",
        ("lid", "lid", "E"),
        ("ＰＡＮ", "pan", "E"),
        ("pan ", "lid", "I"),
        ("pot", "pot", "E"),
    )
    code, said = csrm("validate", "--train", train, "--dev", dev)
    assert code == 0, "noise in what is measured, and no reason to stop"
    assert said[2:] == [
        f"2 held-out queries are trained on, with these or other titles, e.g. 'ＰＡＮ' of {dev}, line 2, "
        f"see {train}, line 2; csrm data split keeps queries apart"
    ]


def judged(folder: Path) -> Path:
    """Twenty queries of four rows, each with a rewriting of four more; one of them has a row of several grades."""
    folder.mkdir(exist_ok=True)
    lines = []
    for i in range(20):
        for label in "ESCI":
            own = {"title": f"{label} {i}", "label": label, "brand": "Hüller", "locale": "en"}
            lines.append(own | {"query": f"Case  {i}"})
            lines.append(own | {"query": f"funda {i}", "locale": "es", "query_en": f"case {i}"})
    lines.append({"query": "CASE 7", "title": "weak", "label": "EC", "locale": "en"})
    file = folder / "judged.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file


def lines_of(folder: Path, *names: str) -> list[dict[str, object]]:
    return [
        json.loads(line) for name in names for line in (folder / f"{name}.jsonl").read_text().splitlines()
    ]


def test_rows_are_cut_by_query_and_nothing_is_lost(tmp_path: Path) -> None:
    file, out = judged(tmp_path), tmp_path / "cut"
    code, said = csrm("split", file, "--dev", "0.2", "--test-rows", 9, "--out", out)
    assert code == 0
    assert said[0].startswith(
        f"{out}/dev.jsonl: 32 rows of 8 queries (en C 4, en E 4, en I 4, en S 4, es C 4"
    )
    assert said[1].startswith(f"{out}/test.jsonl: 16 rows of 4 queries")
    assert said[2].startswith(f"{out}/train.jsonl: 113 rows of 28 queries")
    assert "en EC 1" in said[2]
    cut, whole = lines_of(out, "dev", "test", "train"), lines_of(tmp_path, "judged")
    assert sorted(sorted(map(str, line.items())) for line in cut) == sorted(
        sorted(map(str, line.items())) for line in whole
    )
    code, said = csrm("validate", "--train", out / "train.jsonl", "--dev", out / "dev.jsonl")
    assert (code, len(said)) == (0, 2), "no query is shared"
    with pytest.raises(InputError, match=r"dev\.jsonl exists already"):
        csrm("split", file, "--dev", "0.2", "--out", out)


def test_the_same_seed_draws_the_same_queries_whatever_the_order(tmp_path: Path) -> None:
    file = judged(tmp_path)
    (tmp_path / "other.jsonl").write_text("\n".join(reversed(file.read_text().splitlines())))
    drawn = []
    for out, source, seed in (("a", file, 1), ("b", tmp_path / "other.jsonl", 1), ("c", file, 2)):
        assert csrm("split", source, "--dev-rows", 30, "--seed", seed, "--out", tmp_path / out)[0] == 0
        drawn.append({str(line["query"]) for line in lines_of(tmp_path / out, "dev")})
    assert drawn[0] == drawn[1] != drawn[2]


def test_translations_with_one_id_stay_together(tmp_path: Path) -> None:
    lines = [
        {"query": f"{query} {i}", "title": "t", "label": "E", "locale": locale, "id": i}
        for i in range(30)
        for query, locale in (("case", "en"), ("ケース", "ja"), ("funda", "es"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert csrm("split", tmp_path / "rows.jsonl", "--dev", 0.5, "--out", tmp_path / "cut")[0] == 0
    dev = [line["id"] for line in lines_of(tmp_path / "cut", "dev")]
    assert len(dev) == 45
    assert not set(dev) & {line["id"] for line in lines_of(tmp_path / "cut", "train")}


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ([], 2, "give --dev SHARE or --dev-rows N"),
        (["--dev", "0.2", "--dev-rows", "9"], 2, "give it or --dev-rows"),
        (["--dev", "1.5"], 2, "1.5 is no share between 0 and 1"),
        (["--dev-rows", "9", "--test", "0"], 2, "0.0 is no share between 0 and 1"),
    ],
)
def test_a_split_of_no_sense_is_refused(options: list[str], code: int, named: str, tmp_path: Path) -> None:
    found, said = csrm("split", judged(tmp_path), *options, "--out", tmp_path / "cut")
    assert found == code
    assert named in " ".join(said)
    assert not (tmp_path / "cut").exists()


def test_more_than_there_is_writes_nothing(tmp_path: Path) -> None:
    file, out = judged(tmp_path), tmp_path / "cut"
    with pytest.raises(InputError, match="test: 153 rows are wanted, and the queries left to draw have 144"):
        csrm("split", file, "--dev-rows", 1, "--test-rows", 153, "--out", out)
    single = rows(tmp_path / "single.jsonl", ("case", "red case", "E"), ("case", "gnome", "I"))
    with pytest.raises(InputError, match="none left to train on"):
        csrm("split", single, "--dev", 0.5, "--out", out)
    assert not out.exists()
    out.write_text("in the way")
    with pytest.raises(InputError, match="cut cannot be made: File exists"):
        csrm("split", file, "--dev", 0.2, "--out", out)
