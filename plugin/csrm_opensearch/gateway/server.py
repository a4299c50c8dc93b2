"""Runs the gateway with uvicorn until it is told to stop. Knows sockets and signals; knows no searches."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from csrm_opensearch.errors import ListenError, ProfileError
from csrm_opensearch.gateway.app import Gateway
from csrm_opensearch.gateway.connection import Connection
from csrm_opensearch.gateway.nodes import Nodes
from csrm_opensearch.gateway.workers import keep_running
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.relevance_key import read_key

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10
"""How long requests in flight may take after the signal to stop."""

Load = Callable[[], GatewaySettings]
"""Reads the settings anew; raises ProfileError where they are wrong."""


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal to stop ends it with success, and HUP reads the settings anew."""

    def __init__(self, gateway: Gateway, load: Load) -> None:
        super().__init__(server_config(gateway))
        self._gateway = gateway
        self._load = load
        self._reloads: set[asyncio.Task[None]] = set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        yield

    def _hung_up(self) -> None:
        task = asyncio.ensure_future(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        try:
            settings = self._load()
            log.warning("reading the settings anew")
            await self._gateway.reload(settings)
        except ProfileError as error:
            log.error("the settings stay as they were: %s", error)


def serve(
    load: Load,
    *,
    host: str = "127.0.0.1",
    port: int = 9280,
    admin_port: int | None = None,
    workers: int = 1,
    started: Callable[[str, str], None] | None = None,
) -> None:
    """Serve until TERM or INT, then end what is in flight; HUP reads the settings anew, if they are right.

    Args:
        load: reads the settings.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        admin_port: port of its own for ``/_csrm/``; null answers it on ``port``.
        workers: how many processes serve. They share the ports; each has its own memory of recent judgments.
        started: called with the gateway's URL and the URL of ``/_csrm/`` once they listen.

    Raises:
        ProfileError: the settings are wrong.
        ListenError: an address cannot be had.
    """
    settings = load()
    Nodes(settings.opensearch)  # finds fault with certificate files before anything starts,
    read_key(settings.relevance)  # and this one with the key
    listeners = [listen(host, port)]
    if admin_port is not None:
        listeners.append(listen(host, admin_port))
        admin_port = int(listeners[1].getsockname()[1])
    if started:
        first, last = _url(host, listeners[0]), _url(host, listeners[-1])
        started(first, f"{last}/_csrm/")

    def work() -> None:
        gateway = Gateway(settings, admin_port=admin_port)
        _Server(gateway, load).run(sockets=listeners)

    if workers == 1:
        work()
    else:
        keep_running(work, workers)


def server_config(app: Gateway) -> uvicorn.Config:
    """How uvicorn serves the gateway: headers come from OpenSearch alone, heads of requests have limits."""
    return uvicorn.Config(
        app,
        http=Connection,
        loop="uvloop",
        lifespan="on",
        log_config=None,  # its lines go where ours go
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ListenError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ListenError(
            f"{host}:{port} cannot be listened on ({problem}): give another --port or --host."
        ) from error
    listener.set_inheritable(True)
    return listener
