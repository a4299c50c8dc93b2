"""The keeper, with real processes: nothing that it started outlives it, in whichever way it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

# A command that starts a grandchild in a session of its own, as servers do, and writes down both.
FAMILY = """
import os, signal, subprocess, sys, time
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {grandchild.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)
"""


def keep(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo.keeper", *command],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_the_whole_family_ends(tmp_path: Path, how: str) -> None:
    pids = tmp_path / "pids"
    keeper = keep(sys.executable, "-c", FAMILY, str(pids), "obedient")
    wait_for(pids.exists)
    if how == "close":
        assert keeper.stdin is not None
        keeper.stdin.close()
    else:
        keeper.terminate()
    keeper.wait(20)
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_command_that_ignores_term_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = "import sys, demo.keeper as k; k.STOP_SECONDS = k._LEFTOVER_SECONDS = 0.5; sys.exit(k.main(sys.argv[1:]))"
    keeper = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", FAMILY, str(pids), "stubborn"],
        stdin=subprocess.PIPE,
    )
    wait_for(pids.exists)
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait(20)
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_the_family_ends_with_the_process_that_holds_the_keeper(tmp_path: Path) -> None:
    """The demo itself is killed: nobody is left to stop anything."""
    pids = tmp_path / "pids"
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'demo.keeper', *sys.argv[1:]], stdin=subprocess.PIPE,"
        " start_new_session=True)\n"
        "time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", FAMILY, str(pids), "obedient"]
    )
    wait_for(pids.exists)
    holder.kill()
    holder.wait()
    wait_for(lambda: all(gone(int(pid)) for pid in pids.read_text().split()))


def test_the_exit_code_of_a_command_that_ends_is_passed_on() -> None:
    keeper = keep(sys.executable, "-c", "raise SystemExit(3)")
    assert keeper.wait(20) == 3
