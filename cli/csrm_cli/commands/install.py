"""``csrm install``: brings into an OpenSearch cluster what CSRM keeps there."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from csrm_cli.pipeline_options import KEY_VARIABLE, OpenSearchUrl, ProfileName, ProfilesFile, RelevanceUrl

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Bring into an OpenSearch cluster what CSRM keeps there."
)


@app.command()
def templates(
    opensearch: Annotated[
        str, typer.Option(envvar="OPENSEARCH_URL", help="The cluster, e.g. https://user:password@host:9200")
    ] = "http://127.0.0.1:9200",
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; show what differs, exit with 1 if anything does.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also overwrite templates of the same name and other origin.")
    ] = False,
) -> None:
    """Install the index templates for products (shop-*) and knowledge entries (csrm-knowledge-*)."""
    from csrm_opensearch.cluster import connect
    from csrm_opensearch.templates import State, check_templates, install_templates

    with connect(opensearch) as client:
        findings = check_templates(client) if check else install_templates(client, force=force)
    for finding in findings:
        done = finding.state if check or finding.state is State.CURRENT else f"installed, was {finding.state}"
        typer.echo(f"{finding.name}: {done}")
        for difference in finding.differences if check else ():
            typer.echo(f"  {difference}")
    if check and any(finding.state is not State.CURRENT for finding in findings):
        raise typer.Exit(1)


@app.command(epilog=f"A key that the relevance service wants is read from {KEY_VARIABLE}.")
def pipeline(
    profiles: ProfilesFile,
    profile: ProfileName = None,
    opensearch: OpenSearchUrl = None,
    relevance: RelevanceUrl = None,
    make_default: Annotated[
        bool, typer.Option("--default", help="Make it the default search pipeline of the profile's indices.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also change the cluster's settings, where that is needed.")
    ] = False,
) -> None:
    """Install OpenSearch's own search pipeline for a profile: no gateway, and less of what it does."""
    from csrm_cli.pipeline_options import opened
    from csrm_opensearch.native.install import install

    with opened(profiles, profile, opensearch, relevance) as (client, road):
        key = os.environ.get(KEY_VARIABLE)
        for line in install(client, road, key=key, change_settings=yes, make_default=make_default):
            typer.echo(line)
