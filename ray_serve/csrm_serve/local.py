"""The application on this machine: starts Ray here (or joins one), deploys, and takes everything down again.

Knows Ray's start and stop; knows no command line. Ray's ports are open on every interface, guarded by its
token; that mode is set here, since not every version of Ray sets it by itself.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from csrm_serve.errors import StartError
from csrm_serve.memory import available_bytes
from csrm_serve.settings import ServeSettings

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 200 * 2**20
"""Only requests and answers over 100 kB pass through Ray's object store."""

RAY_BYTES = 1_200 * 2**20
SCORER_BYTES = 2_700 * 2**20
"""Memory of Ray with its dashboard, and of one scorer replica while it loads the shipped base; measured."""

STOP_TIMEOUT_S = 5.0

_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # replicas run in this environment, also under `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",  # a machine that is busy otherwise; Ray itself waits for 60
    # A replica of ours only waits, for other replicas or for a worker thread: it has one event loop, not three that
    # hand every request to each other.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # Requests go from replica to replica themselves, and not by way of a task that Ray schedules, which takes twice as
    # long. What a body may hold, `max_body_mb` says.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service answers. ``dashboard`` is None for a cluster that was joined."""

    api: str
    dashboard: str | None


@contextmanager
def running(
    settings: ServeSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    dashboard_port: int = 8265,
    metrics_port: int | None = None,
    address: str | None = None,
    say: Callable[[str], None] = log.info,
) -> Iterator[Addresses]:
    """Run the application until the block ends; a scorer has scored its first query when the block begins.

    Args:
        settings: of the application.
        host: interface of the HTTP API.
        port: of the HTTP API.
        dashboard_port: of the Ray dashboard, on 127.0.0.1.
        metrics_port: of the metrics for Prometheus, on every interface; one that is free if None.
        address: of a Ray cluster to join; Ray is started here if None.
        say: called with one line at the start of each long step.

    Raises:
        StartError: a port is taken, memory or a GPU is short, Ray or the application does not start.
    """
    if address is not None and metrics_port is not None:
        raise StartError(
            "--metrics-port is for a Ray of our own: a cluster's nodes chose theirs at ray start."
        )
    if address is None:
        if metrics_port is not None:
            _need_port("0.0.0.0", metrics_port, "--metrics-port")
        _need_port(host, port, "--port")
        _need_port("127.0.0.1", dashboard_port, "--dashboard-port")
        need_memory(available_bytes(), settings.min_replicas * len(settings.bundles))
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    say("Starting Ray" if address is None else f"Joining Ray at {address}")
    try:
        _start_ray(address, settings, dashboard_port, metrics_port)
        say("Loading the model")
        _deploy(settings, host, port, joined=address is not None)
        yield Addresses(
            api=f"http://{host}:{port}",
            dashboard=f"http://127.0.0.1:{dashboard_port}" if address is None else None,
        )
    finally:
        say("Stopping")
        _stop(joined=address is not None)


def need_memory(available_bytes: int, replicas: int) -> None:
    """Raises: StartError: so many scorer replicas do not fit."""
    needed = RAY_BYTES + replicas * SCORER_BYTES
    if available_bytes < needed:
        raise StartError(
            f"Ray and {replicas} scorer replica(s) need {needed / 2**30:.1f} GB of memory and"
            f" {available_bytes / 2**30:.1f} GB are free: stop other programs, or ask for fewer replicas."
        )


def _need_port(host: str, port: int, flag: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(f"Port {port} on {host} is taken: choose another one with {flag}.") from error


def need_gpus(there: float, settings: ServeSettings) -> None:
    """Raises: StartError: the replicas at rest claim more GPUs than there are; Ray would wait for them for ever."""
    needed = settings.gpus * settings.min_replicas * len(settings.bundles)
    if there < needed:
        raise StartError(
            f"The scorer replicas claim {needed:g} GPU(s) and Ray finds {there:g} here: lower --gpus or --replicas."
        )


def _start_ray(
    address: str | None, settings: ServeSettings, dashboard_port: int, metrics_port: int | None
) -> None:
    import ray

    try:
        if address is not None:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        scorers = settings.max_replicas * len(settings.bundles)
        cores = max(psutil.cpu_count() or 1, scorers * settings.threads)
        ray.init(
            address="local",
            num_cpus=cores,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=dashboard_port,
            _metrics_export_port=metrics_port,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        place = "on this machine" if address is None else f"at {address}"
        raise StartError(f"Ray {place} does not start: {_why_no_ray(error)}") from error
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    need_gpus(there.get("GPU", 0), settings)


def _deploy(settings: ServeSettings, host: str, port: int, *, joined: bool) -> None:
    """Deploy the application: behind the proxies of a cluster that was joined, else with a door of its own."""
    from ray import serve

    from csrm_serve.app import APPLICATION, application
    from csrm_serve.door import REQUEST_S

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # what it says of its progress, `say` has said
    try:
        if joined:
            serve.start(http_options={"host": host, "port": port, "request_timeout_s": REQUEST_S})
        else:
            serve.start(proxy_location="Disabled")
        app = application(settings, listen=None if joined else (host, port))
        # The stages of a request are metrics: a line in every replica's log costs more than it tells.
        serve.run(app, name=APPLICATION, route_prefix="/", logging_config={"enable_access_log": False})
    except Exception as error:
        states = serve.status().applications
        told = [str(error)]
        if APPLICATION in states:
            told += [deployment.message for deployment in states[APPLICATION].deployments.values()]
        raise StartError(_why_not("\n".join(told))) from error


def _stop(*, joined: bool) -> None:
    """Take down what was started: the application if Ray was joined, else Ray and all its processes."""
    import ray
    from ray import serve

    from csrm_serve.app import APPLICATION

    if joined:
        if ray.is_initialized():
            serve.delete(APPLICATION)
        ray.shutdown()
        return
    started = psutil.Process().children(recursive=True)
    ray.shutdown()
    for process in _left_after(STOP_TIMEOUT_S, started):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _left_after(timeout_s: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. A zombie does not: whoever adopted it may never ask for its exit code."""
    until = time.monotonic() + timeout_s
    while (processes := [one for one in processes if _runs(one)]) and time.monotonic() < until:
        time.sleep(0.05)
    return processes


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _why_no_ray(error: Exception) -> str:
    """What Ray says, but where the machine is too slow for it: there it asks for a bug report, or guesses."""
    if "dashboard" in str(error):
        waited_s = os.environ["RAY_DASHBOARD_STARTUP_TIMEOUT_S"]
        return (
            f"its dashboard did not come up, for which it waits {waited_s} s. Stop what else keeps this machine busy, "
            "or set RAY_DASHBOARD_STARTUP_TIMEOUT_S to more seconds."
        )
    if "timed out during startup" in str(error):  # of 30 s, which nothing can change
        return "it took longer than it allows itself. Stop what keeps this machine busy, and start again."
    return _first_line(error)


def _why_not(message: str) -> str:
    """The error that a replica raised on purpose, out of the tracebacks that Serve reports."""
    own = re.findall(r"^csrm(?:_serve)?\.errors\.\w+: (.+)$", message, flags=re.MULTILINE)
    if own:
        return str(own[-1])
    raised = re.findall(r"^[\w.]*?(\w+Error): (?!Traceback)(.+)$", message, flags=re.MULTILINE)
    if raised:
        kind, reason = raised[-1]
        return f"The application does not start: {reason} ({kind})."
    return f"The application does not start: {_first_line(message)}"


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
