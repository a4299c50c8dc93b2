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

from csrm.wire import Level, Precision


def serve(
    bundle: Annotated[str, typer.Option(help="Name or folder of the model bundle.")] = "default",
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or folder of a further bundle with scorers of its own; requests name its model. Give it again"
            " for each.",
            metavar="BUNDLE",
        ),
    ] = None,
    shares: Annotated[
        list[str] | None,
        typer.Option(
            "--share",
            help="Share of the queries that name no version and go to a further bundle: next-bundle=0.1.",
            metavar="BUNDLE=SHARE",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Hub id or folder of the base weights; the bundle's own if not given.")
    ] = None,
    knowledge: Annotated[
        str | None,
        typer.Option(help="Folder of a knowledge snapshot; the bundle's own if not given.", metavar="FOLDER"),
    ] = None,
    knowledge_opensearch: Annotated[
        str | None,
        typer.Option(
            help="OpenSearch cluster to ask for knowledge (csrm knowledge publish); the snapshot stands in while it "
            "cannot be used.",
            metavar="URL",
        ),
    ] = None,
    knowledge_login: Annotated[
        Path | None, typer.Option(help="File with user:password for that cluster.", metavar="FILE")
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
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the metrics for Prometheus, on every interface; one that is free if not given.",
            min=1,
            max=65535,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of the weights; auto measures at start which is fastest, with int8 (x86 CPUs with AVX2 "
            "or later) only for a bundle that was calibrated in it."
        ),
    ] = "auto",
    level: Annotated[
        Level | None,
        typer.Option(
            help="How deep products are judged where a request does not say.",
            show_default="balanced; full where nothing in the bundle judges first",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Cores of each scorer replica; the machine's, shared out, if not given.", min=1),
    ] = None,
    gpus: Annotated[
        float,
        typer.Option(
            help="GPUs that each scorer replica claims: a part of one (0.5 lets two share it), or whole ones.",
            min=0,
        ),
    ] = 0,
    cache_mb: Annotated[
        int,
        typer.Option(help="Megabytes for grades each scorer replica has computed; 0 keeps none.", min=0),
    ] = 64,
    shared_cache: Annotated[
        str | None,
        typer.Option(
            help="Valkey or Redis server whose grades all replicas share, such as valkey://cache:6379/0; none if not"
            " given.",
            metavar="URL",
        ),
    ] = None,
    shared_cache_password_file: Annotated[
        Path | None, typer.Option(help="File with that server's password.", metavar="FILE")
    ] = None,
    shared_cache_prefix: Annotated[
        str, typer.Option(help="Begins the name of every entry there.", metavar="TEXT")
    ] = "csrm",
    shared_cache_ttl_s: Annotated[
        int, typer.Option(help="Seconds that an entry is kept for there.", min=1)
    ] = 604_800,
    shared_cache_timeout_ms: Annotated[
        float,
        typer.Option(
            help="Milliseconds a look-up there may take before a query is scored without it.", min=1
        ),
    ] = 5,
    target_ongoing_requests: Annotated[
        float,
        typer.Option(
            help="Requests under way for each scorer replica above which another is started, up to --max-replicas.",
            min=0.1,
        ),
    ] = 2,
    max_ongoing_requests: Annotated[
        int,
        typer.Option(help="Requests that take turns in a scorer replica; others wait before it.", min=1),
    ] = 8,
    max_queued_requests: Annotated[
        int, typer.Option(help="Requests that may wait for a scorer; one more is answered 503.", min=1)
    ] = 32,
    max_body_mb: Annotated[
        int, typer.Option(help="Megabytes of a request's body; more is answered 413.", min=1)
    ] = 32,
    max_bodies_mb: Annotated[
        int,
        typer.Option(help="Megabytes of all bodies under way; a request beyond that is answered 503.", min=1),
    ] = 256,
    default_deadline_ms: Annotated[
        float,
        typer.Option(help="Milliseconds from its arrival that a request has which names no deadline.", min=1),
    ] = 30_000,
    knowledge_budget_ms: Annotated[
        float,
        typer.Option(help="Milliseconds knowledge may take before a query is scored without it.", min=1),
    ] = 400,
    api_keys: Annotated[
        Path | None,
        typer.Option(help="File with one API key a line; everybody may ask if not given.", metavar="FILE"),
    ] = None,
    max_requests_per_key: Annotated[
        int | None,
        typer.Option(
            help="Requests one key may have under way; one more is answered 429. Any number if not given.",
            min=1,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join (HOST:PORT or auto); Ray is started here if not given."),
    ] = None,
) -> None:
    """Run the relevance service until Ctrl-C or TERM, then take down every process it started.

    A query may have 2,000 characters and bring 1,000 products of 20,000 characters each; that cannot be chosen.
    """
    from csrm.errors import MissingExtraError

    for package in ("ray", "fastapi", "torch", "transformers"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    if shared_cache is not None and find_spec("valkey") is None:
        raise MissingExtraError("valkey", "cache")

    from pydantic import ValidationError
    from rich.console import Console

    from csrm.bundle import load_bundle
    from csrm.scoring.base import prepare_base
    from csrm_cli.opensearch_knowledge import OpenSearchStore
    from csrm_serve.access import read_keys
    from csrm_serve.errors import StartError
    from csrm_serve.local import running
    from csrm_serve.settings import ServeSettings

    console = Console(highlight=False)
    began = time.monotonic()

    def say(step: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {step}")

    if max_requests_per_key is not None and api_keys is None:
        raise StartError("--max-requests-per-key needs --api-keys: callers without keys are all alike.")
    login = str(knowledge_login.resolve()) if knowledge_login else None
    if knowledge_opensearch is not None:
        OpenSearchStore(knowledge_opensearch, login)  # no address or no login: refused before Ray starts
    if api_keys is not None:
        read_keys(api_keys)  # what is no file of keys is refused before Ray starts
    given = dict(_share(text) for text in shares or [])
    most = max(replicas, max_replicas or replicas)
    scorers = most * (1 + len(also or []))
    try:
        settings = ServeSettings(
            bundle=_bundle(bundle),
            also=[_bundle(name) for name in also or []],
            shares={_bundle(name): share for name, share in given.items()},
            base=_absolute(base) if base else None,
            knowledge=_snapshot(knowledge) if knowledge else None,
            knowledge_opensearch=knowledge_opensearch,
            knowledge_login=login,
            precision=precision,
            level=level,
            gpus=gpus,
            cache_mb=cache_mb,
            shared_cache=shared_cache,
            shared_cache_password_file=(
                str(shared_cache_password_file.resolve()) if shared_cache_password_file else None
            ),
            shared_cache_prefix=shared_cache_prefix,
            shared_cache_ttl_s=shared_cache_ttl_s,
            shared_cache_timeout_ms=shared_cache_timeout_ms,
            threads=threads or max(1, (os.cpu_count() or 1) // scorers),
            min_replicas=replicas,
            max_replicas=most,
            target_ongoing_requests=target_ongoing_requests,
            max_ongoing_requests=max_ongoing_requests,
            max_queued_requests=max_queued_requests,
            max_body_mb=max_body_mb,
            max_bodies_mb=max_bodies_mb,
            default_deadline_ms=default_deadline_ms,
            knowledge_budget_ms=knowledge_budget_ms,
            api_keys=str(api_keys.resolve()) if api_keys else None,
            max_requests_per_key=max_requests_per_key,
        )
    except ValidationError as error:
        raise StartError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None
    for name in settings.bundles:
        prepare_base(settings.of(name).base or load_bundle(name).manifest.base, progress=say)

    stop = threading.Event()
    with running(
        settings,
        host=host,
        port=port,
        dashboard_port=dashboard_port,
        metrics_port=metrics_port,
        address=address,
        say=say,
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


def _share(text: str) -> tuple[str, float]:
    from csrm_serve.errors import StartError

    bundle, _, share = text.rpartition("=")
    try:
        return bundle, float(share)
    except ValueError:
        raise StartError(f"--share {text}: give BUNDLE=SHARE, such as next-bundle=0.1.") from None


def _bundle(name: str) -> str:
    from csrm.bundle import DEFAULT_BUNDLE

    return name if name == DEFAULT_BUNDLE else _absolute(name)  # a folder of that name does not replace it


def _absolute(name: str) -> str:
    """A folder as replicas find it, whose working directory is another one; what is no folder is a name and stays."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _snapshot(folder: str) -> str:
    """The folder as replicas find it, wherever they run; what is no snapshot is refused before Ray starts."""
    from csrm.knowledge import saved_version

    path = Path(folder).resolve()
    saved_version(path)
    return str(path)
