"""`make` on a machine that lacks something: one sentence that says what to do. And the list of habits."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("bash", "dirname", "env", "rm")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with a shell and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COMMANDS:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def make_environment(path: Path, venv: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "environment"), str(venv)],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def put_command(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/usr/bin/env bash\n{script}\n")
    file.chmod(0o755)


def test_without_python_it_says_which_to_install(bare_path: Path, tmp_path: Path) -> None:
    done = make_environment(bare_path, tmp_path / "venv")
    assert done.returncode == 1
    assert re.fullmatch(
        r"environment: no Python from 3\.11 to 3\.14 is on the PATH: install .*\n", done.stderr
    )


def test_a_python_that_is_too_old_and_a_shim_without_python_are_passed_over(
    bare_path: Path, tmp_path: Path
) -> None:
    put_command(bare_path, "python3", "exit 1  # says that it is no 3.11")
    put_command(bare_path, "python3.13", "exit 127  # a version manager's shim")
    done = make_environment(bare_path, tmp_path / "venv")
    assert "no Python from 3.11" in done.stderr


def test_a_python_without_venv_says_what_to_install(bare_path: Path, tmp_path: Path) -> None:
    put_command(
        bare_path,
        "python3.12",
        """case "$*" in
        *version_info*) exit 0 ;;
        *sys.executable*) echo python3.12 ;;
        --version) echo Python 3.12.0 ;;
        *) exit 1 ;;
        esac""",
    )
    done = make_environment(bare_path, tmp_path / "venv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("(Debian, Ubuntu: apt install python3-venv) or uv.")
    assert not (tmp_path / "venv").exists()


def test_make_help_lists_every_habit() -> None:
    phony = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  make (\S+) +\S", shown, re.MULTILINE)
    assert set(listed) == set(phony)
    assert {"demo", "test", "help"} < set(listed)
