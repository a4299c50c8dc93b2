"""``csrm gateway``: the drop-in before OpenSearch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


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
    admin_port: Annotated[
        int | None,
        typer.Option(help="A port of its own for the playground, metrics and health.", min=0, max=65535),
    ] = None,
    workers: Annotated[int, typer.Option(help="How many processes serve.", min=1, max=256)] = 1,
    dashboard_url: Annotated[
        str | None, typer.Option(help="Where the playground links to: the Ray dashboard.")
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="How much is logged; info has a line a request and a line a search.")
    ] = "warning",
    log_format: Annotated[LogFormat, typer.Option(help="Lines of text, or of JSON.")] = "text",
) -> None:
    """Pass every request on to OpenSearch; rerank and filter the searches on indices with a profile.

    Clients change the host name and nothing else. The options stand above the settings file, which is read anew
    on HUP. TERM ends the searches in flight, then the gateway.
    """
    with tempfile.TemporaryDirectory(prefix="csrm-gateway-") as folder:
        if workers > 1:  # must be set before the metrics' library is imported
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from csrm_opensearch.gateway import serve
        from csrm_opensearch.gateway.logs import set_up
        from csrm_opensearch.profiles import GatewaySettings, load_settings

        set_up(log_format, log_level)

        def load() -> GatewaySettings:
            return load_settings(
                profiles, opensearch__urls=opensearch, relevance__url=relevance, dashboard_url=dashboard_url
            )

        def started(url: str, admin_url: str) -> None:
            nodes = ", ".join(load().opensearch.urls)
            typer.echo(f"gateway {url}  ->  {nodes}  (playground {admin_url})")

        serve(
            load,
            host=host,
            port=port,
            admin_port=admin_port,
            workers=workers,
            started=started,
        )
