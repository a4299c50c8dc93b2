"""The HTTP server in the ingress's own process, for an application on one machine: no proxy before the API.

Serve's proxy hands every request to the ingress in one call, its body in a second and waits in a third for the caller
to leave. A cluster needs it, to spread requests over nodes; one process that listens itself does not. Knows ASGI and
sockets; knows no route and no Ray.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csrm_serve.errors import StartError, TooSlowError
from csrm_serve.status import error_response

REQUEST_S = 60.0
"""Most that a request may take with the reading of its body. Its own deadline comes first; this one catches a caller
that never sends the rest."""

KEEP_ALIVE_S = 90
"""Longer than the pools of clients keep a connection that idles: they, who may use it again, are to close it first."""

Address = tuple[str, int]
"""Host and port to listen on."""


class Door:
    """A server of ``app`` in the running event loop, from now on.

    Raises:
        StartError: the address cannot be listened on.
    """

    def __init__(self, app: ASGIApp, address: Address) -> None:
        listener = _listen(*address)
        config = uvicorn.Config(
            UntilGone(app),
            lifespan="off",
            log_config=None,
            log_level="critical",  # what goes wrong with a request, `csrm_serve.status` has logged
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        serving = uvicorn.Server(config).serve(sockets=[listener])
        self._serving = asyncio.get_running_loop().create_task(serving)

    def check(self) -> None:
        """Raises: RuntimeError: it serves no more."""
        if self._serving.done():
            raise RuntimeError("The HTTP server has ended.")


class UntilGone:
    """ASGI middleware that cancels a request whose caller has gone away, and ends one that takes too long (408)."""

    def __init__(self, app: ASGIApp, *, most_s: float = REQUEST_S) -> None:
        self._app = app
        self._most_s = most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        work = asyncio.current_task()
        assert work is not None  # a server runs every request in a task
        waiting: asyncio.Task[Message] | None = None
        began = ended = gone = False

        def left(_: object) -> None:
            nonlocal gone
            if not ended:
                gone = True
                work.cancel()

        async def heard() -> Message:
            """The body's parts; after the last one there is nothing to come but the news that the caller has gone."""
            nonlocal waiting
            if waiting is not None:
                return await asyncio.shield(waiting)
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                waiting = asyncio.create_task(receive())  # type: ignore[arg-type]
                waiting.add_done_callback(left)
            return message

        async def told(message: Message) -> None:
            nonlocal began, ended
            began = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            async with asyncio.timeout(self._most_s):
                await self._app(scope, heard, told)
        except TimeoutError:
            if not began:
                late = TooSlowError(f"The request took over {self._most_s:g} s: send all of it at once.")
                await error_response(late)(scope, receive, told)
        except asyncio.CancelledError:
            if not gone or work.uncancel():
                raise
        finally:
            ended = True
            if waiting is not None:
                waiting.cancel()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartError(
            f"{host}:{port} cannot be listened on ({why}): choose another --port or --host."
        ) from error
