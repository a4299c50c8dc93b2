"""A real Valkey or Redis server for the tests of the cache that replicas share."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valkey import Valkey

NAME = next((name for name in ("valkey-server", "redis-server") if shutil.which(name)), None)
"""The server's command; null where none is installed."""


@dataclass
class Server:
    """A server on a port that stays the same when it is started again."""

    folder: Path
    password: str | None = None
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", self.port))
            self.port = probe.getsockname()[1]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        if self.password:
            options += ["--requirepass", self.password]
        self._process = subprocess.Popen([NAME or "", *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                self.client().ping()
                return
            except Exception:
                assert time.monotonic() < until and self._process.poll() is None, "the server did not start"
                time.sleep(0.05)

    def client(self) -> Any:
        return Valkey(port=self.port, password=self.password)

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def tell(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
