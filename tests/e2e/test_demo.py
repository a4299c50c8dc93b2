"""`make demo` as a process: it comes up to its first reranked result, and it leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRST_RESULT = "first result after"


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo without a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--once"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.timeout(600)  # the first time on a machine it fetches OpenSearch and unpacks the base weights
def test_it_comes_to_a_result_and_leaves_no_process(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    printed: list[str] = []
    for line in demo.stdout:
        printed.append(line)
        if FIRST_RESULT in line:
            break
    assert FIRST_RESULT in "".join(printed[-1:]), "".join(printed)
    started = psutil.Process(demo.pid).children(recursive=True)
    assert len(started) > 3  # OpenSearch, Ray and its workers, the gateway
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=90)
    assert demo.returncode == 143
    assert [process for process in started if process.is_running()] == []
