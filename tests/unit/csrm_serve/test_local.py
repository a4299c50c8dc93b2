"""Starting and stopping on this machine, as far as it needs no Ray: memory, ports, reasons, processes left."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import psutil
import pytest

from csrm_serve.errors import StartError
from csrm_serve.local import (
    RAY_BYTES,
    SCORER_BYTES,
    _left_after,
    _why_no_ray,
    _why_not,
    need_gpus,
    need_memory,
    running,
)
from csrm_serve.settings import ServeSettings


def test_memory_for_every_replica_is_needed() -> None:
    need_memory(RAY_BYTES + 2 * SCORER_BYTES, replicas=2)
    with pytest.raises(StartError, match=r"3 scorer replica\(s\) need \d+\.\d GB"):
        need_memory(RAY_BYTES + 2 * SCORER_BYTES, replicas=3)


def test_gpus_that_are_not_there_are_not_waited_for() -> None:
    shared = ServeSettings(gpus=0.5, min_replicas=2, max_replicas=4)
    need_gpus(1, shared)
    need_gpus(0, ServeSettings())
    with pytest.raises(StartError, match=r"claim 2 GPU\(s\) and Ray finds 1 here"):
        need_gpus(1, shared.model_copy(update={"also": ["next"]}))


def test_a_dashboard_that_is_too_slow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "7")
    slow = _why_no_ray(
        Exception("Failed to read dashboard.err file: cannot mmap an empty file. It is unexpected.")
    )
    assert "waits 7 s" in slow and "RAY_DASHBOARD_STARTUP_TIMEOUT_S" in slow and "github" not in slow
    raylet = _why_no_ray(Exception("The current node timed out during startup. This could happen because"))
    assert "keeps this machine busy" in raylet
    assert _why_no_ray(Exception("\n no raylet\nmore")) == "no raylet"


def test_a_metrics_port_is_not_for_a_cluster_that_is_joined() -> None:
    with (
        pytest.raises(StartError, match="--metrics-port"),
        running(ServeSettings(), address="auto", metrics_port=9090),
    ):
        pass


@pytest.mark.parametrize(
    ("option", "flag"),
    [("port", "--port"), ("dashboard_port", "--dashboard-port"), ("metrics_port", "--metrics-port")],
)
def test_a_taken_port_is_named_before_anything_starts(option: str, flag: str) -> None:
    steps: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        ports = {"port": 0, "dashboard_port": 0, option: number}
        with (
            pytest.raises(StartError, match=f"Port {number} .* {flag}"),
            running(ServeSettings(), say=steps.append, **ports),
        ):
            pass
    assert steps == []


def test_the_reason_is_the_replicas_own_error_and_not_the_traceback() -> None:
    message = """Deploying application csrm failed: The deployment failed to start.
ray::ServeReplica:csrm:Scorer.initialize_and_get_metadata() (pid=1)
  File "deployments.py", line 40, in __init__
csrm.errors.BundleError: The adapter does not fit the base: train it again.
"""
    assert _why_not(message) == "The adapter does not fit the base: train it again."
    unforeseen = """RuntimeError: Traceback (most recent call last):
  File "load.py", line 98
safetensors._safetensors_rust.SafetensorError: header too large
"""
    assert _why_not(unforeseen) == "The application does not start: header too large (SafetensorError)."
    assert _why_not("\n no replica\nmore") == "The application does not start: no replica"


def test_a_process_that_ended_unasked_for_is_not_left() -> None:
    """A zombie, as when the process that adopted it never waits, holds nothing any more."""
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        began = time.monotonic()
        left = _left_after(1.0, [psutil.Process(ended.pid), psutil.Process(sleeping.pid)])
        assert [process.pid for process in left] == [sleeping.pid]
        assert time.monotonic() - began >= 1.0
        assert psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE
    finally:
        sleeping.kill()
        sleeping.wait()
        ended.wait()
