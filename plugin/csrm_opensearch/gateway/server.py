"""Runs the gateway with uvicorn until it is told to stop. Knows sockets and signals; knows no searches."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from csrm_opensearch.errors import ListenError
from csrm_opensearch.gateway.app import Gateway
from csrm_opensearch.gateway.connection import Connection
from csrm_opensearch.profiles import GatewaySettings

log = logging.getLogger(__name__)

GRACE_SECONDS = 1
"""How long searches in flight may take after the signal to stop."""


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal to stop ends it with success instead of by that signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(
    settings: GatewaySettings,
    *,
    host: str = "127.0.0.1",
    port: int = 9280,
    log_level: str = "warning",
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until TERM or INT; returns within two seconds of it.

    Args:
        settings: of the gateway.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        log_level: of uvicorn's own log.
        started: called with the gateway's URL once it listens.

    Raises:
        ListenError: the address cannot be had.
    """
    listener = listen(host, port)
    config = server_config(Gateway(settings), log_level=log_level)
    if started:
        name = f"[{host}]" if ":" in host else host
        started(f"http://{name}:{listener.getsockname()[1]}")
    _Server(config).run(sockets=[listener])


def server_config(app: Gateway, *, log_level: str = "warning") -> uvicorn.Config:
    """How uvicorn serves the gateway: headers come from OpenSearch alone, heads of requests have limits."""
    return uvicorn.Config(
        app,
        http=Connection,
        loop="uvloop",
        lifespan="on",
        log_level=log_level,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        ListenError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ListenError(
            f"{host}:{port} cannot be listened on ({problem}): give another --port or --host."
        ) from error
    listener.set_inheritable(True)
    return listener
