"""The whole product as a user runs it: OpenSearch, `csrm serve` with the shipped bundle, `csrm gateway`.

Each command is a process of its own, started once a test session and ended with it, whatever becomes of the tests.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from csrm_opensearch.testing import OpenSearchNode
from demo.service import Service

READY_SECONDS = 300.0  # the first start on a machine unpacks the base weights
LOCALES = ("en", "es", "ko", "ja", "zh-TW")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Relevance:
    """`csrm serve` on ports that stay the same when it is started again."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.port, self.dashboard_port, self.metrics_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        self.dashboard_url = f"http://127.0.0.1:{self.dashboard_port}"
        self._service: Service | None = None

    def start(self) -> None:
        arguments = ["serve", "--port", str(self.port), "--dashboard-port", str(self.dashboard_port)]
        arguments += ["--metrics-port", str(self.metrics_port)]
        self._service = Service("Ray Serve", arguments, self.logs / "serve.log")
        self._service.wait_ready(f"{self.url}/readyz", READY_SECONDS)

    def ensure_ready(self) -> None:
        """Start it if it does not run: the first test of a session, or the one after a crash, does."""
        if self._service is None:
            self.start()

    def stop(self) -> None:
        if self._service is not None:
            self._service.stop()
            self._service = None

    def crash(self) -> None:
        """Kill the command itself, with no chance to take anything down; its keeper then finds what is left."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if "serve" in line and str(self.port) in line and "demo.keeper" not in line:
                    process.kill()
        self.stop()


@pytest.fixture(scope="session")
def relevance_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relevance]:
    """The relevance service of the session, started by the first test that needs it."""
    service = Relevance(tmp_path_factory.mktemp("serve"))
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def relevance(relevance_process: Relevance) -> Relevance:
    """The relevance service, ready."""
    relevance_process.ensure_ready()
    return relevance_process


@pytest.fixture
def api(relevance: Relevance) -> Iterator[httpx.Client]:
    """A client of the relevance API."""
    with httpx.Client(base_url=relevance.url, timeout=60) as client:
        yield client


@contextlib.contextmanager
def running_gateway(opensearch_url: str, relevance_url: str, folder: Path) -> Iterator[str]:
    """`csrm gateway` with one profile for the tests' indices; yields its URL.

    The time budget is generous and the breaker short: the tests ask what happens, not how fast this machine is.
    """
    profiles = folder / "profiles.yaml"
    profiles.write_text(
        yaml.safe_dump(
            {
                "relevance": {"breaker": {"failures": 3, "cooldown_ms": 500}},
                "profiles": [
                    {
                        "name": "e2e",
                        "indices": ["shop-test-*"],
                        "text_fields": ["title"],
                        "locale": {"by_index": {f"*-{locale.lower()}": locale for locale in LOCALES}},
                        "window": 40,
                        "time_budget_ms": 20_000,
                        "tail": "hide",
                    }
                ],
            }
        ),
        encoding="utf-8",
    )
    port = free_port()
    arguments = ["gateway", "--opensearch", opensearch_url, "--relevance", relevance_url]
    service = Service(
        "The gateway",
        [*arguments, "--profiles", str(profiles), "--port", str(port)],
        folder / "gateway.log",
    )
    url = f"http://127.0.0.1:{port}"
    try:
        service.wait_ready(f"{url}/_csrm/readyz", 60)
        yield url
    finally:
        service.stop()


@pytest.fixture(scope="session")
def gateway(
    opensearch: OpenSearchNode, relevance_process: Relevance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a gateway before the session's OpenSearch and relevance service, whether that runs or not."""
    with running_gateway(opensearch.url, relevance_process.url, tmp_path_factory.mktemp("gateway")) as url:
        yield url
