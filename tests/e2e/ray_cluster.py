"""A Ray cluster of one node that somebody else runs, for `serve deploy` of the shipped config."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from csrm_serve.app import CONFIG_FILE
from demo.service import ROOT

_HEAD = """
import os, signal
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "30"  # after 5 s Serve kills a slow proxy
import ray
ray.init(address="local", num_cpus={cpus}, object_store_memory=200 * 2**20, include_dashboard=True,
         dashboard_host="127.0.0.1", dashboard_port={port}, log_to_driver=False)
print("the cluster is up", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def ray_cluster(dashboard_port: int, log: Path, cpus: int = 4) -> Iterator[str]:
    """The dashboard's URL of a cluster that runs until the block ends."""
    script = _HEAD.format(cpus=cpus, port=dashboard_port)
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "demo.keeper", sys.executable, "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 120
        while b"the cluster is up" not in log.read_bytes():
            assert keeper.poll() is None and time.monotonic() < until, log.read_text(errors="replace")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{dashboard_port}"
    finally:
        if keeper.stdin is not None:
            keeper.stdin.close()
        keeper.wait(60)


def shipped_config() -> dict[str, Any]:
    """The config that we ship."""
    config: dict[str, Any] = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    return config


def serve_deploy(dashboard_url: str, port: int, folder: Path, config: dict[str, Any] | None = None) -> None:
    """Ray's own `serve deploy` with the config that we ship, or a changed one, on another port."""
    config = config or shipped_config()
    config["http_options"]["port"] = port
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    serve = Path(sys.executable).with_name("serve")
    done = subprocess.run(
        [serve, "deploy", file, "--address", dashboard_url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "token"},  # what a cluster made by ray.init asks for
    )
    assert done.returncode == 0, done.stdout + done.stderr
