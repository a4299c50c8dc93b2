"""`csrm serve` where it cannot start: one sentence that says what to do, no traceback, no process left."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from demo.service import CSRM

from .conftest import free_port


def refused(*arguments: str) -> str:
    """What `csrm serve` says when it gives up."""
    done = subprocess.run(
        [str(CSRM), "serve", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("csrm: ")]
    return sentence


def test_an_unknown_bundle_is_named() -> None:
    sentence = refused("--bundle", "no-such-bundle", "--port", str(free_port()))
    assert "no-such-bundle" in sentence and "csrm-gemma3-270m" in sentence


def test_a_base_without_a_model_is_named(tmp_path: Path) -> None:
    assert "config.json" in refused("--base", str(tmp_path), "--port", str(free_port()))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:6379", "give valkey://"),
        ("valkey://127.0.0.1:x", "give valkey://"),
        ("127.0.0.1:6379", "give valkey://"),
        ("valkey://:secret-word@127.0.0.1:6379", "shared_cache_password_file"),
    ],
)
def test_a_wrong_address_of_the_shared_cache_is_named(address: str, reason: str) -> None:
    sentence = refused("--shared-cache", address)
    assert reason in sentence and "secret-word" not in sentence


@pytest.mark.parametrize("share", ["next", "next=much", "next=2", "absent=0.1", "next=0.7"])
def test_a_wrong_share_is_named(share: str) -> None:
    more = ("--share", "other=0.7") if share == "next=0.7" else ()
    sentence = refused("--also", "next", "--also", "other", "--share", share, *more)
    assert "share" in sentence


@pytest.mark.parametrize("flag", ["--port", "--dashboard-port"])
def test_a_taken_port_is_named(flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        other = "--dashboard-port" if flag == "--port" else "--port"
        sentence = refused(flag, number, other, str(free_port()))
    assert number in sentence and flag in sentence


def test_more_replicas_than_memory_holds_are_refused() -> None:
    sentence = refused(
        "--replicas", "10000", "--port", str(free_port()), "--dashboard-port", str(free_port())
    )
    assert "GB" in sentence and "replicas" in sentence


def test_keys_that_cannot_be_read_are_refused_before_anything_starts(tmp_path: Path) -> None:
    assert "cannot be read" in refused("--api-keys", str(tmp_path / "none"), "--port", str(free_port()))
    assert "--api-keys" in refused("--max-requests-per-key", "2", "--port", str(free_port()))
