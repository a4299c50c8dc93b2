"""`make demo` as its users run it: to the end without a terminal, and up until Ctrl-C with one; nothing is left."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import psutil
import pytest

from demo.search import connect, index_name, search
from demo.service import BUILD, ROOT
from demo.shop import LOCALES, queries

REPORT = BUILD / "report.json"
QUERIES = 10  # of each locale, of which two are of held-out families; `make demo` alone asks all
_MARK = "CSRM_TEST_RUN"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Run:
    """Environment of one run of the demo, and every process that was started with it."""

    def __init__(self) -> None:
        self.mark = uuid4().hex
        self.environment = {**os.environ, _MARK: self.mark, "TERM": "xterm", "COLUMNS": "140"}

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        for process in self.processes():
            process.kill()


@pytest.fixture
def run() -> Iterator[Run]:
    started = Run()
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def report() -> Iterator[None]:
    """Whatever report there was stands again afterwards."""
    before = REPORT.read_bytes() if REPORT.exists() else None
    REPORT.unlink(missing_ok=True)
    yield
    if before is not None:
        REPORT.write_bytes(before)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens on the port, now or already."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            pass
        yield


def read_until(terminal: int, text: str, seconds: float) -> str:
    """What the program printed on the terminal, until it printed ``text``."""
    said, deadline = "", time.monotonic() + seconds
    while text not in _COLOURS.sub("", said):
        assert time.monotonic() < deadline, said
        if select.select([terminal], [], [], 1)[0]:
            try:
                said += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the program has ended
                raise AssertionError(said) from None
    return _COLOURS.sub("", said)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("report")
def test_without_a_terminal_it_measures_and_ends(run: Run) -> None:
    done = subprocess.run(
        ["make", "demo", f"QUERIES={QUERIES}"],
        cwd=ROOT,
        env=run.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert run.processes() == []
    assert "Traceback" not in done.stdout + done.stderr
    assert "OpenSearch alone" in done.stdout and "with CSRM" in done.stdout

    found = json.loads(REPORT.read_text(encoding="utf-8"))
    assert list(found["locales"]) == list(LOCALES)
    for locale in LOCALES:
        part = found["locales"][locale]
        assert part["queries"] == QUERIES
        assert part["not_reranked"] == 0
        assert part["defect_ratio_at_10"]["before"] > 0.3
        assert part["defect_ratio_at_10"]["after"] < part["defect_ratio_at_10"]["before"]
        assert 0 <= part["relevant_lost"] < 1
        assert 0 < part["latency_ms"]["p50"] <= part["latency_ms"]["p95"]
    held_out = found["held_out_families"]
    assert held_out["queries"] == sum(
        query.held_out for locale in LOCALES for query in queries(locale)[:QUERIES]
    )
    assert found["all"]["queries"] == QUERIES * len(LOCALES)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("report")
def test_with_a_terminal_it_stays_up_until_ctrl_c(run: Run) -> None:
    """Its usual gateway port is taken: it says so, takes another, and what it prints is where things answer."""
    parent, child = pty.openpty()
    with taken(9280):
        demo = subprocess.Popen(
            ["make", "demo", "QUERIES=1"],
            cwd=ROOT,
            env=run.environment,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` has it ignored
        )
        os.close(child)
        said = read_until(parent, "Ctrl-C stops everything.", 300)
    assert re.search(r"Port 9280 is taken: the gateway listens on \d+\.", said)
    urls = dict(re.findall(r"(gateway|playground|Ray dashboard|OpenSearch) +(http://127\.0\.0\.1:\S+)", said))

    query = queries("ko")[0]
    answer = search(connect(urls["gateway"]), "ko", query.text, 10)
    assert answer.status.startswith("reranked"), answer.status
    assert answer.hits
    assert index_name("ko") in httpx.get(f"{urls['OpenSearch']}/_cat/indices/shop-*?h=index").text
    assert "<html" in httpx.get(urls["playground"]).text.lower()
    assert httpx.get(urls["Ray dashboard"]).status_code == 200

    running = [process for process in run.processes() if process.pid != demo.pid]
    assert running
    os.kill(next(one.pid for one in running if "demo" in one.cmdline()[1:3]), signal.SIGINT)
    read_until(parent, "Stopping", 30)
    assert demo.wait(90) == 0
    os.close(parent)
    assert run.processes() == []
    assert json.loads(REPORT.read_text(encoding="utf-8"))["command"] == "make demo ONCE=1 QUERIES=1"


def test_what_cannot_be_had_is_said_in_one_sentence(run: Run) -> None:
    """The OpenSearch that the user named is down; what was started before it is found out ends, too."""
    environment = {**run.environment, "OPENSEARCH_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        ["make", "demo", "ONCE=1"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2  # make's own, for a command that failed
    assert "Traceback" not in done.stdout + done.stderr
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert "OPENSEARCH_URL" in sentence and "start it" in sentence
    assert run.processes() == []
