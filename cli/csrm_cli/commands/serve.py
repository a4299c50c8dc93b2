"""``csrm serve``: the relevance model and its knowledge on Ray Serve."""

from __future__ import annotations

import os
import signal
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundle: Annotated[str, typer.Option(help="Name or folder of the model bundle.")] = "default",
    base: Annotated[
        str | None, typer.Option(help="Hub id or folder of the base weights; the bundle's own if not given.")
    ] = None,
    knowledge: Annotated[
        str | None,
        typer.Option(help="Folder of a knowledge snapshot; the bundle's own if not given.", metavar="FOLDER"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the HTTP API.", min=1, max=65535)] = 8000,
    dashboard_port: Annotated[
        int, typer.Option(help="Port of the Ray dashboard, on 127.0.0.1.", min=1, max=65535)
    ] = 8265,
    replicas: Annotated[int, typer.Option(help="Scorer replicas at rest.", min=1)] = 1,
    max_replicas: Annotated[
        int | None,
        typer.Option(help="Most scorer replicas under load; as many as --replicas if not given.", min=1),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Number format of the weights; auto measures at start.")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="Cores of each scorer replica; the machine's, shared out, if not given.", min=1),
    ] = None,
    cache_mb: Annotated[
        int,
        typer.Option(help="Megabytes for grades each scorer replica has computed; 0 keeps none.", min=0),
    ] = 64,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join (HOST:PORT or auto); Ray is started here if not given."),
    ] = None,
) -> None:
    """Run the relevance service until Ctrl-C or TERM, then take down every process it started."""
    from csrm.errors import MissingExtraError

    for package in ("ray", "fastapi", "torch", "transformers"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")

    from rich.console import Console

    from csrm.bundle import load_bundle
    from csrm.scoring.base import prepare_base
    from csrm_serve.local import running
    from csrm_serve.settings import ServeSettings

    console = Console(highlight=False)
    began = time.monotonic()

    def say(step: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {step}")

    most = max(replicas, max_replicas or replicas)
    settings = ServeSettings(
        bundle=bundle,
        base=base,
        knowledge=_snapshot(knowledge) if knowledge else None,
        precision=precision,
        cache_mb=cache_mb,
        threads=threads or max(1, (os.cpu_count() or 1) // most),
        min_replicas=replicas,
        max_replicas=most,
    )
    prepare_base(base or load_bundle(bundle).manifest.base, progress=say)

    stop = threading.Event()
    with running(
        settings, host=host, port=port, dashboard_port=dashboard_port, address=address, say=say
    ) as addresses:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        say("Ready")
        console.print(f"  relevance API  {addresses.api}/v1/relevance  (described at {addresses.api}/docs)")
        if addresses.dashboard:
            console.print(
                f"  Ray dashboard  {addresses.dashboard}  (it asks for the token: ray get-auth-token)"
            )
        console.print("  Ctrl-C stops it")
        stop.wait()


def _snapshot(folder: str) -> str:
    """The folder as replicas find it, wherever they run; what is no snapshot is refused before Ray starts."""
    from csrm.knowledge import saved_version

    path = Path(folder).resolve()
    saved_version(path)
    return str(path)
