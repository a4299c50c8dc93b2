"""Runs a command that must not outlive the demo: ``python -m demo.keeper COMMAND ...``.

The command, and every process it started, is ended as soon as the keeper's standard input closes. Only the
demo holds the other end, so it closes in every case: when the demo stops, fails, or is killed. Knows nothing
of what it runs. Exits with the command's exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import signal
import subprocess
import sys

import psutil

STOP_SECONDS = 25.0
_LEFTOVER_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run ``command`` until it exits or standard input closes; return its exit code."""
    told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told_to_stop.append(number))
    if sys.platform == "linux":
        # Processes whose parent is gone become our children instead of the system's, so that none gets away.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None and not told_to_stop:
        if select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
            break
    family = psutil.Process().children(recursive=True)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    _end({*family, *psutil.Process().children(recursive=True)})
    return child.returncode


def _end(processes: set[psutil.Process]) -> None:
    """End what the command left behind: ask, wait, kill."""
    alive = list(processes)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(process)
        _, alive = psutil.wait_procs(alive, timeout=_LEFTOVER_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
