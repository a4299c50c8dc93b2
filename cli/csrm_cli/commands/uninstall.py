"""``csrm uninstall``: takes out of an OpenSearch cluster what ``csrm install`` brought."""

from __future__ import annotations

import typer

from csrm_cli.pipeline_options import OpenSearchUrl, ProfileName, ProfilesFile

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Take out of a cluster what csrm install brought."
)


@app.callback()
def _uninstall() -> None:
    """Keeps ``pipeline`` a command of its own, also while it is the only one."""


@app.command()
def pipeline(profiles: ProfilesFile, profile: ProfileName = None, opensearch: OpenSearchUrl = None) -> None:
    """Delete the profile's search pipeline, its model and connector, and take its settings back."""
    from csrm_cli.pipeline_options import opened
    from csrm_opensearch.native.install import uninstall

    with opened(profiles, profile, opensearch, None) as (client, road):
        for line in uninstall(client, road.name) or [f"nothing of {road.name} is there"]:
            typer.echo(line)
