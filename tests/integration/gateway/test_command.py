"""``csrm gateway`` as a process: signals, several workers, a port of its own for operators."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Answer, call
from tests.integration.gateway.word_service import WordService

CSRM = str(Path(sys.executable).with_name("csrm"))
CASE: dict[str, Any] = {"query": {"match": {"title": "phone case"}}}


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    admin: str
    log: Path

    def search(self, text: str = "phone case") -> Answer:
        return call(self.url, "POST", f"/{SHOP}/_search", {"query": {"match": {"title": text}}})

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def says(self, text: str) -> None:
        """Wait until the log says something."""
        until = time.monotonic() + 10
        while text not in self.log.read_text():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)


@contextmanager
def gateway_process(profiles: Path, *options: str) -> Iterator[Running]:
    log = profiles.with_suffix(".log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [CSRM, "gateway", "--profiles", str(profiles), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout
        words = process.stdout.readline().split()
        assert words[:1] == ["gateway"], log.read_text()
        yield Running(process, words[1], words[-1].removesuffix("/_csrm/)"), log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(15)
        assert process.stdout
        process.stdout.close()


@pytest.fixture
def profiles(opensearch: OpenSearchNode, shop: str, service: WordService, tmp_path: Path) -> Path:
    file = tmp_path / "profiles.yaml"
    write(file, settings(opensearch.url, service.url).model_dump(mode="json"))
    return file


def write(file: Path, told: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(told))


def test_hup_reads_the_settings_anew_and_term_ends_what_is_in_flight(
    profiles: Path, service: WordService
) -> None:
    told = yaml.safe_load(profiles.read_text())
    with gateway_process(profiles) as running:
        assert running.search().csrm.startswith("reranked; window=100")
        told["profiles"][0]["window"] = 20
        write(profiles, told)
        assert running.search().csrm.startswith("reranked; window=100"), "not before it is told to"
        running.process.send_signal(signal.SIGHUP)
        running.says("reading the settings anew")
        assert running.search().csrm.startswith("reranked; window=20")

        for wrong, said in (
            ("profiles: [{name: shop}]", "profiles[0].indices: field required"),
            ("opensearch: {urls: ['https://a'], ca_file: absent.pem}", "certificate files cannot be used"),
        ):
            profiles.write_text(wrong)
            running.process.send_signal(signal.SIGHUP)
            running.says(said)
        assert running.log.read_text().count("the settings stay as they were: ") == 2
        assert running.search().csrm.startswith("reranked; window=20")

        with in_flight(running, service, "phone case one") as answers:
            told["profiles"][0]["mode"] = "off"
            write(profiles, told)
            running.process.send_signal(signal.SIGHUP)
            until = time.monotonic() + 10
            while running.search("phone case two").csrm != "skipped; reason=off":
                assert time.monotonic() < until
        assert answers == ["reranked; window=20"], "it ends with the settings that it began with"

        told["profiles"][0]["mode"] = "on"
        write(profiles, told)
        running.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 10
        while not running.search("phone case three").csrm.startswith("reranked"):
            assert time.monotonic() < until
        with in_flight(running, service, "phone case four") as answers:
            assert running.stop() == 0
        assert answers == ["reranked; window=20"]


@contextmanager
def in_flight(running: Running, service: WordService, text: str) -> Iterator[list[str]]:
    """While a search waits for its judgments; what became of it is in the list afterwards."""
    answers: list[str] = []

    def search() -> None:
        answers.append(running.search(text).csrm.partition("; removed")[0])

    asked, service.delay = len(service.asked), 2.0
    thread = threading.Thread(target=search)
    thread.start()
    until = time.monotonic() + 10
    while len(service.asked) == asked:
        assert time.monotonic() < until
        time.sleep(0.01)
    service.delay = 0.0
    yield answers
    thread.join()


def test_several_workers_share_the_port_and_the_metrics(profiles: Path) -> None:
    with gateway_process(profiles, "--workers", "2") as running:
        parent = psutil.Process(running.process.pid)
        for _ in range(8):
            assert running.search().csrm.startswith("reranked")
        text = call(running.url, "GET", "/_csrm/metrics").body.decode()
        (counted,) = (line for line in text.splitlines() if line.startswith("csrm_searches_total{"))
        assert float(counted.rsplit(" ", 1)[1]) == 8

        first = {child.pid for child in parent.children()}
        assert len(first) == 2
        victim = first.pop()
        psutil.Process(victim).kill()
        until = time.monotonic() + 15
        while len(now := {child.pid for child in parent.children() if child.is_running()} - {victim}) < 2:
            assert time.monotonic() < until, "no successor"
            time.sleep(0.1)
        assert running.search().status == 200
        children = [psutil.Process(pid) for pid in now]
        assert running.stop() == 0
        psutil.wait_procs(children, timeout=5)
        assert not any(child.is_running() for child in children)


def test_operators_may_have_a_port_of_their_own(profiles: Path, opensearch: OpenSearchNode) -> None:
    with gateway_process(profiles, "--admin-port", "0") as running:
        assert running.admin != running.url
        assert call(running.admin, "GET", "/_csrm/healthz").json == {"status": "ok"}
        ours, theirs = (call(url, "GET", "/_csrm/healthz") for url in (running.url, opensearch.url))
        assert (ours.status, ours.body) == (theirs.status, theirs.body)
        assert call(running.admin, "POST", f"/{SHOP}/_search", CASE).csrm.startswith("reranked")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("profiles: [{name: shop}]", "profiles[0].indices: field required"),
        (
            "opensearch: {urls: ['https://127.0.0.1:1'], ca_file: absent.pem}",
            "certificate files cannot be used",
        ),
    ],
)
def test_wrong_settings_are_said_in_one_sentence(tmp_path: Path, told: str, sentence: str) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(told)
    done = subprocess.run(
        [CSRM, "gateway", "--profiles", str(file), "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence, no traceback, no worker that tries"


def test_a_taken_port_is_said(profiles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [CSRM, "gateway", "--profiles", str(profiles), "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr and "Traceback" not in done.stderr
