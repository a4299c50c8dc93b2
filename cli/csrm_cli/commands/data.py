"""``csrm data``: labelled rows out of what users have, and a check of any file of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from csrm.sources.rows import Conversion
    from csrm.training.checking import Place

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Make labelled rows (JSONL) out of what you have, and check them.",
)

Out = Annotated[Path, typer.Option(help="File of rows (JSONL) to write; must not exist.")]


@app.command()
def esci(
    folder: Annotated[Path, typer.Argument(help="Folder of the official release's two parquet files.")],
    out: Out,
    locale: Annotated[
        list[str] | None, typer.Option(help="en, es or ja; may be given several times. \\[all]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train or test. \\[both]")] = None,
    small: Annotated[bool, typer.Option("--small", help="Only the reduced version.")] = False,
) -> None:
    """Labelled pairs of the Shopping Queries data set (ESCI): us, es and jp become en, es and ja."""
    from csrm.sources.esci import LOCALES, read_esci

    if split not in (None, "train", "test"):
        raise typer.BadParameter(f"{split!r} is neither train nor test.", param_hint="--split")
    _write(read_esci(folder, locales=locale or list(LOCALES.values()), split=split, small=small), out)  # type: ignore[arg-type]


@app.command()
def wands(
    folder: Annotated[Path, typer.Argument(help="Folder with query.csv, product.csv and label.csv.")],
    out: Out,
) -> None:
    """Labelled pairs of WANDS: Exact, Partial and Irrelevant become E, S and I."""
    from csrm.sources.wands import read_wands

    _write(read_wands(folder), out)


@app.command()
def csv(
    file: Annotated[Path, typer.Argument(help="Table with a header line, UTF-8.")],
    out: Out,
    query: Annotated[str, typer.Option(help="Column of the query.")] = "query",
    title: Annotated[str, typer.Option(help="Column of the product's title.")] = "title",
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    locale_column: Annotated[str, typer.Option(help="Column of the locale.")] = "locale",
    locale: Annotated[
        str | None, typer.Option(help="Locale of all rows, in place of a column, e.g. ko.")
    ] = None,
    grade: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=GRADE, for labels of your own, e.g. 3=E; give one for each label."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between the fields.")] = ",",
) -> None:
    """Labelled pairs of a table, with columns and labels of any name."""
    from csrm.sources.judged_csv import Columns, read_csv

    labels: dict[str, str] | None = None
    if grade:
        if wrong := [pair for pair in grade if "=" not in pair]:
            raise typer.BadParameter(f"{wrong[0]!r} is not LABEL=GRADE.", param_hint="--grade")
        labels = {said: meant for said, _, meant in (pair.rpartition("=") for pair in grade)}
    columns = Columns(query, title, label, locale_column)
    delimiter = "\t" if delimiter == "\\t" else delimiter
    _write(read_csv(file, columns, labels=labels, locale=locale, delimiter=delimiter), out)


@app.command()
def ubi(
    queries: Annotated[Path, typer.Option(help="UBI's query records (JSONL, bare or exported).")],
    events: Annotated[Path, typer.Option(help="UBI's event records.")],
    products: Annotated[Path, typer.Option(help="The shop's products (JSONL).")],
    locale: Annotated[str, typer.Option(help="Language of the queries, e.g. ko or zh-TW.")],
    out: Out,
    id_field: Annotated[
        str, typer.Option(help="Field of a product that UBI's object_id names; _id of an export too.")
    ] = "id",
    title_field: Annotated[str, typer.Option(help="Field of a product's title.")] = "title",
    min_clients: Annotated[int, typer.Option(help="Clients that must have asked a query.", min=2)] = 5,
    min_support: Annotated[
        int, typer.Option(help="Clients that must have chosen a product for E or S.", min=1)
    ] = 2,
    min_passed: Annotated[
        int, typer.Option(help="Clients that must have seen a product, and none chosen it, for I.", min=2)
    ] = 10,
) -> None:
    """Weak labels out of clicks and purchases, for training with self-distillation; not for measuring."""
    from csrm.sources.ubi import WeakLabelRules, read_ubi

    rules = WeakLabelRules(min_clients=min_clients, min_support=min_support, min_passed=min_passed)
    found = read_ubi(
        *(queries, events, products), locale=locale, rules=rules, id_field=id_field, title_field=title_field
    )
    _write(found, out)


@app.command()
def split(
    files: Annotated[list[Path], typer.Argument(help="Labelled rows (JSONL).")],
    out: Annotated[
        Path, typer.Option(help="Folder for train.jsonl, dev.jsonl and test.jsonl; none may exist there.")
    ],
    dev: Annotated[float | None, typer.Option(help="Share of the rows for dev, e.g. 0.2.")] = None,
    dev_rows: Annotated[int | None, typer.Option(help="Rows for dev, in place of a share.", min=1)] = None,
    test: Annotated[float | None, typer.Option(help="Share of the rows for test. \\[no test.jsonl]")] = None,
    test_rows: Annotated[int | None, typer.Option(help="Rows for test, likewise.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 20260917,
) -> None:
    """Cut rows by query, a rewritten or translated one with its origin, into train and dev, and test where wanted."""
    from csrm.training.data import normalise
    from csrm.training.splitting import split_files

    held_out: dict[str, float] = {}
    for name, share, count in (("dev", dev, dev_rows), ("test", test, test_rows)):
        if share is not None and count is not None:
            raise typer.BadParameter(f"give it or --{name}-rows.", param_hint=f"--{name}")
        if share is not None and not 0 < share < 1:
            raise typer.BadParameter(f"{share} is no share between 0 and 1.", param_hint=f"--{name}")
        if (amount := share or count) is not None:
            held_out[name] = amount
    if "dev" not in held_out:
        raise typer.BadParameter("give --dev SHARE or --dev-rows N.", param_hint="--dev")
    for name, rows in split_files(files, out, held_out, seed=seed).items():
        queries = len({normalise(row.query) for row in rows})
        labels = Counter(f"{row.locale} {row.label}" for row in rows)
        typer.echo(f"{out / name}.jsonl: {len(rows):,} rows of {queries:,} queries ({_counts(labels)})")


@app.command()
def validate(
    files: Annotated[list[Path] | None, typer.Argument(help="Labelled rows (JSONL).")] = None,
    train: Annotated[
        list[Path] | None, typer.Option(help="Rows to train on; may be given several times.")
    ] = None,
    dev: Annotated[
        list[Path] | None,
        typer.Option(help="Held-out rows, which must not be among those of --train; several times."),
    ] = None,
) -> None:
    """Say line and field of every fault, count repeated and contradicting rows, find leaks; exit with 1 if unusable."""
    from csrm.training.checking import LONG_TEXT, check_data

    if not (files or train or dev):
        raise typer.BadParameter("name a file, or --train and --dev.")
    found = check_data(files or (), train=train or (), dev=dev or ())
    for file in found.files:
        for fault in file.faults:
            typer.echo(f"{file.path}, {fault}")
        if file.unreadable:
            typer.echo(file.unreadable)
    for file in found.files:
        wrong = len({fault.line for fault in file.faults})
        labels = _counts(file.labels)
        typer.echo(
            f"{file.path}: {file.rows:,} good rows"
            + (f", {wrong:,} with faults" if wrong else "")
            + (f" ({labels})" if labels else "")
        )
        if file.empty:
            typer.echo(f"{file.path} is empty.")
        if file.one_kind:
            typer.echo(f"{file.path}: all rows are of one kind; both E or S and C or I are needed.")
        if file.long:
            typer.echo(
                f"{file.path}: {len(file.long):,} rows have a text of more than {LONG_TEXT:,} characters, of which "
                f"only the beginning is read, e.g. line {file.long[0].line}"
            )
    _tell(found.duplicates, "rows repeat an earlier one", lambda row, first: f"{row} as {first}")
    _tell(
        found.contradictions,
        "rows contradict an earlier one",
        lambda row, first: f"{row} says {row.row.label}, {first} says {first.row.label}",
    )
    _tell(
        found.shared,
        "held-out queries are trained on, with these or other titles",
        lambda row, first: f"{row.row.query!r} of {row}, see {first}; csrm data split keeps queries apart",
    )
    _tell(found.leaks, "held-out rows are trained on", lambda row, first: f"{row} is {first}")
    if not found.usable:
        raise typer.Exit(1)


def _tell(pairs: Sequence[tuple[Place, Place]], what: str, shown: Callable[[Place, Place], str]) -> None:
    if pairs:
        typer.echo(f"{len(pairs):,} {what}, e.g. {shown(*pairs[0])}")


def _counts(labels: Counter[str]) -> str:
    return ", ".join(f"{said} {count:,}" for said, count in sorted(labels.items()))


def _write(conversion: Conversion, out: Path) -> None:
    from csrm.sources.rows import write

    write(conversion, out)
    typer.echo(f"{out}: {conversion.labels.total():,} rows ({_counts(conversion.labels)})")
    for reason, count in conversion.left_out.items():
        typer.echo(f"left out {count:,}: {reason}")
