"""The command line as a user meets it: a quick help, real commands behind every row, sentences on failure."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from csrm_cli.main import COMMANDS, load

HEAVY = ("torch", "ray", "transformers", "opensearchpy", "aiohttp", "numpy", "uvicorn")


def csrm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "csrm_cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-command"]], ids=" ".join)
def test_what_runs_no_command_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from csrm_cli.main import app
try:
    app({arguments!r})
except SystemExit:
    pass
print("heavy:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_help_lists_every_command() -> None:
    shown = csrm("--help").stdout
    for name, row in COMMANDS.items():
        assert name in shown
        assert row.help in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_is_a_command(name: str) -> None:
    module = COMMANDS[name].target.partition(":")[0]
    assert importlib.util.find_spec(module), f"{module} does not exist"
    assert load(name).name == name or load(name).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help(name: str) -> None:
    done = csrm(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"csrm {name}" in done.stdout.replace("csrm_cli.main", "csrm")


def test_no_help_loses_what_stands_in_brackets() -> None:
    assert "[runs/NAME-VERSION]" in " ".join(csrm("train", "--help").stdout.split())
    shown = csrm("data", "esci", "--help").stdout
    assert "[all]" in shown
    assert "[both]" in shown


def test_version() -> None:
    assert csrm("--version").stdout == f"csrm {importlib.metadata.version('csrm-opensearch')}\n"


def test_an_unknown_command_names_the_nearest() -> None:
    done = csrm("gatewya")
    assert done.returncode == 2
    assert "gateway" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_profiles_file_is_one_sentence(tmp_path: Path) -> None:
    done = csrm("gateway", "--profiles", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = csrm("--debug", "gateway", "--profiles", str(tmp_path / "none.yaml"))
    assert "Traceback" in done.stderr
    assert "ProfileError" in done.stderr
