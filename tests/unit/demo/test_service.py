"""Starting, waiting for and stopping a real `csrm` command, and what is said when it ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from demo import machine
from demo.errors import NotEnoughError, PortError, ServiceError
from demo.service import Service


def test_a_command_that_ends_by_itself_is_waited_for(tmp_path: Path) -> None:
    service = Service("Asking the version", ["--version"], tmp_path / "log")
    service.wait_done()
    service.stop()
    assert (tmp_path / "log").read_text().startswith("csrm ")


def test_a_command_that_fails_is_quoted_and_its_log_named(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    service = Service("The gateway", ["gateway", "--profiles", str(tmp_path / "none.yaml")], log)
    with pytest.raises(ServiceError) as caught:
        service.wait_ready("http://127.0.0.1:9/", seconds=30)
    service.stop()
    assert "none.yaml" in str(caught.value)
    assert str(log) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert machine.free_port(port) > port


def test_a_promised_port_is_passed_over() -> None:
    port = machine.free_port(39200)
    assert machine.free_port(port, frozenset({port})) > port


def test_no_free_port_says_which_were_tried() -> None:
    with pytest.raises(PortError, match="39300 to 39349"):
        machine.free_port(39300, frozenset(range(39300, 39400)))


def test_too_little_memory_says_how_much_is_missing() -> None:
    with pytest.raises(NotEnoughError, match=r"100000.0 GB of free memory and [\d.]+ GB are free"):
        machine.check_memory(100_000)
    machine.check_memory(0.01)
