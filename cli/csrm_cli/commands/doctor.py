"""``csrm doctor``: where the way from OpenSearch to the model is broken, and what to do."""

from __future__ import annotations

import typer

from csrm_cli.pipeline_options import OpenSearchUrl, ProfileName, ProfilesFile, RelevanceUrl


def doctor(
    profiles: ProfilesFile,
    profile: ProfileName = None,
    opensearch: OpenSearchUrl = None,
    relevance: RelevanceUrl = None,
) -> None:
    """Check a profile's search pipeline step by step; exit with 1 at the first that is broken."""
    from csrm_cli.pipeline_options import opened
    from csrm_opensearch.native.doctor import examine

    with opened(profiles, profile, opensearch, relevance) as (client, road):
        for check in examine(client, road):
            typer.echo(f"{'ok    ' if check.well else 'BROKEN'}  {check.step}: {check.found}")
            if not check.well:
                typer.echo(f"        do: {check.remedy}")
                raise typer.Exit(1)
