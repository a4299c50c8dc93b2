"""``csrm knowledge build``: entries out of what a shop has, added to a file of entries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csrm.knowledge import KnowledgeEntry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Make entries out of what a shop has. What is in the file already stays; only what is new is added.",
)

Into = Annotated[Path, typer.Option(help="File of entries to add to; made if there is none.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would change.")]
Source = Annotated[str, typer.Option(help="What the entries say they come from; their ids begin with it.")]
Url = Annotated[
    str, typer.Option(envvar="OPENSEARCH_URL", help="The cluster, e.g. https://user:password@host:9200")
]


@app.command()
def terms(
    file: Annotated[
        Path, typer.Argument(help="CSV: term,meaning and, if wanted, aliases,locale,weight,only_typed.")
    ],
    into: Into,
    source: Source = "terms",
    dry_run: DryRun = False,
) -> None:
    """Brands, jargon and abbreviations from a CSV."""
    from csrm.knowledge.builders.terms import read_terms

    _add(read_terms(file, source=source), into, dry_run)


@app.command()
def taxonomy(
    files: Annotated[
        list[str], typer.Argument(help="LOCALE=FILE, in the layout of the Google product taxonomy with ids.")
    ],
    into: Into,
    source: Source = "taxonomy",
    dry_run: DryRun = False,
) -> None:
    """Category paths from a taxonomy table, a file a language."""
    from csrm.knowledge.builders.taxonomy import read_taxonomy

    tables = {}
    for pair in files:
        locale, parted, file = pair.partition("=")
        if not parted:
            raise typer.BadParameter(f"{pair!r} is not LOCALE=FILE.", param_hint="FILES")
        tables[locale] = Path(file)
    _add(read_taxonomy(tables, source=source), into, dry_run)


@app.command()
def judgments(
    file: Annotated[Path, typer.Argument(help="JSONL of query, title, label (E, S, C, I) and locale.")],
    into: Into,
    source: Source = "judgments",
    dry_run: DryRun = False,
) -> None:
    """Queries with the products that people called exact."""
    from csrm.knowledge.builders.judged import from_judgments
    from csrm.training.data import read_pairs

    _add(from_judgments(read_pairs(file), source=source), into, dry_run)


@app.command()
def products(
    into: Into,
    index: Annotated[str, typer.Option(help="Index or pattern of the products.")],
    locale: Annotated[str, typer.Option(help="Language of the categories, e.g. ko or zh-TW.")],
    opensearch: Url = "http://127.0.0.1:9200",
    brand_field: Annotated[str, typer.Option(help="Keyword field of the brand.")] = "brand",
    category_field: Annotated[str, typer.Option(help="Keyword field of the category path.")] = "category",
    attribute_field: Annotated[
        list[str] | None, typer.Option(help="Keyword field of an attribute; may be given again.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Brands, categories and telling attributes of a product index."""
    from csrm_cli.knowledge_sources import from_products
    from csrm_opensearch.cluster import connect
    from csrm_opensearch.product_facts import ProductFields

    fields = ProductFields(brand=brand_field, category=category_field)
    with connect(opensearch) as client:
        _add(from_products(client, index, fields, attribute_field or [], locale=locale), into, dry_run)


@app.command()
def ubi(
    into: Into,
    products: Annotated[str, typer.Option(help="Index or pattern of the products that were clicked.")],
    opensearch: Url = "http://127.0.0.1:9200",
    locale: Annotated[str | None, typer.Option(help="Language of the queries, if they have one.")] = None,
    queries_index: Annotated[str, typer.Option(help="Index of UBI's queries.")] = "ubi_queries",
    events_index: Annotated[str, typer.Option(help="Index of UBI's events.")] = "ubi_events",
    since: Annotated[str | None, typer.Option(help="Only records from then on, e.g. now-90d.")] = None,
    id_field: Annotated[str, typer.Option(help="Field of a product that UBI's object_id names.")] = "_id",
    title_field: Annotated[str, typer.Option(help="Field of a product's title.")] = "title",
    category_field: Annotated[str, typer.Option(help="Field of a product's category.")] = "category",
    min_clients: Annotated[
        int, typer.Option(help="Clients that must have asked a query; others are dropped.", min=2)
    ] = 5,
    dry_run: DryRun = False,
) -> None:
    """Queries with what shoppers clicked and bought, from User Behavior Insights. No client is kept."""
    from csrm.knowledge.builders.choices import ChoiceRules
    from csrm_cli.knowledge_sources import from_ubi
    from csrm_opensearch.cluster import connect
    from csrm_opensearch.product_facts import ProductFields
    from csrm_opensearch.ubi import UbiSource

    source = UbiSource(queries=queries_index, events=events_index, since=since)
    fields = ProductFields(id=id_field, title=title_field, category=category_field)
    rules = ChoiceRules(min_clients=min_clients)
    kept = into.with_name(f"{into.name}.unfinished")
    with connect(opensearch) as client:
        built = from_ubi(client, source, products, fields, rules, locale=locale, kept=kept)
    _add(built, into, dry_run)


def _add(built: Sequence[KnowledgeEntry], into: Path, dry_run: bool) -> None:
    from csrm.knowledge import read_entries, write_entries
    from csrm.knowledge.builders.merging import merge

    changes = merge(read_entries(into) if into.exists() else [], built)
    if dry_run:
        for sign, entries in (("+", changes.added), ("~", changes.changed)):
            for entry in entries:
                typer.echo(f"{sign} {entry.id}: {entry.prompt_line()}")
    elif changes.added or changes.changed:
        write_entries(into, changes.entries)
    same = len(built) - len(changes.added) - len(changes.changed)
    typer.echo(
        f"{into}: {len(changes.added)} new, {len(changes.changed)} changed, {same} as they were, "
        f"{len(changes.entries)} in all" + (" (not written)" if dry_run else "")
    )
