"""The demo's own servers: starts a ``csrm`` command as a user would, waits until it is ready, stops it.

Knows processes and readiness; knows no product and no query. Every command runs under a keeper
(``demo.keeper``) with its output in a log file. OpenSearch has its own launcher, ``csrm_opensearch.testing``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from demo.errors import ServiceError
from demo.keeper import STOP_SECONDS

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "demo"
CSRM = Path(sys.executable).with_name("csrm")

_POLL_SECONDS = 0.1


class Service:
    """A ``csrm`` command that runs until it is stopped.

    Args:
        title: what messages call it, e.g. ``The gateway``.
        arguments: those of ``csrm``, e.g. ``["serve", "--port", "8000"]``.
        log: the file that gets everything it prints.
    """

    def __init__(self, title: str, arguments: Sequence[str], log: Path) -> None:
        self.title = title
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "demo.keeper", str(CSRM), *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which stops its servers in order
            )

    def wait_ready(self, url: str, seconds: float) -> None:
        """Return when ``url`` answers 200.

        Raises:
            ServiceError: the command ended, or did not answer within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not _answers(url):
            self.check()
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.title} was not ready after {seconds:.0f} s: look into {self._log_name()}, or "
                    "stop what else keeps the machine busy and try again."
                )
            time.sleep(_POLL_SECONDS)

    def wait_done(self) -> None:
        """Return when the command has ended by itself with exit code 0.

        Raises:
            ServiceError: it ended with another one.
        """
        if self._keeper.wait() != 0:
            raise self._ended()

    def check(self) -> None:
        """Raises ServiceError when the command is no longer running."""
        if self._keeper.poll() is not None:
            raise self._ended()

    def stop(self) -> None:
        """End the command and everything it started."""
        if self._keeper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.close()
        try:
            self._keeper.wait(STOP_SECONDS + 15)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    def _ended(self) -> ServiceError:
        said = _last_sentence(self.log)
        return ServiceError(f"{self.title} ended: {said} See {self._log_name()}.")

    def _log_name(self) -> Path:
        return self.log.relative_to(ROOT) if self.log.is_relative_to(ROOT) else self.log


def _last_sentence(log: Path) -> str:
    """What ``csrm`` said when it ended, or the last line of the log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    sentences = [line.removeprefix("csrm: ") for line in lines if line.startswith("csrm: ")]
    last = (sentences or lines or ["it printed nothing"])[-1]
    return last if last.endswith((".", "!", "?")) else f"{last}."


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
