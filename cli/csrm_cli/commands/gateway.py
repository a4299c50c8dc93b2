"""``csrm gateway``: the drop-in before OpenSearch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

LogLevel = Literal["debug", "info", "warning", "error"]


def gateway(
    profiles: Annotated[Path, typer.Option("--profiles", help="The settings file with the profiles (YAML).")],
    opensearch: Annotated[
        list[str] | None, typer.Option(help="URL of an OpenSearch node; give it again for each further node.")
    ] = None,
    relevance: Annotated[str | None, typer.Option(help="URL of the relevance service (csrm serve).")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 9280,
    dashboard_url: Annotated[
        str | None, typer.Option(help="Where the playground links to: the Ray dashboard.")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much is logged.")] = "warning",
) -> None:
    """Pass every request on to OpenSearch; rerank and filter the searches on indices with a profile.

    Clients change the host name and nothing else. The options stand above the settings file.
    """
    from csrm_opensearch.gateway import serve
    from csrm_opensearch.profiles import load_settings

    logging.getLogger().setLevel(log_level.upper())
    settings = load_settings(
        profiles, opensearch__urls=opensearch, relevance__url=relevance, dashboard_url=dashboard_url
    )

    def started(url: str) -> None:
        typer.echo(f"gateway {url}  ->  {', '.join(settings.opensearch.urls)}  (playground {url}/_csrm/)")

    serve(settings, host=host, port=port, log_level=log_level, started=started)
