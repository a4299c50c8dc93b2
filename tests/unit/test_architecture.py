"""The rules of the house that no single module can keep: imports, package data, what no file may name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "ray", "sentence_transformers", "peft")


def tracked_files() -> list[Path]:
    """The files of the repository: what git tracks, and what is about to be added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


TEXT_FILES = [file for file in tracked_files() if b"\0" not in file.read_bytes()[:8000]]


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_imports_follow_the_arrows() -> None:
    """In a process of its own: import-linter silences the loggers that there are."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["csrm", "csrm.wire", "csrm.errors", "csrm_opensearch", "csrm_opensearch.gateway", "csrm_cli.main"],
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("file", [f for f in TEXT_FILES if f.suffix in {".yaml", ".yml"}], ids=relative)
def test_every_yaml_loads_and_is_commented(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text)) not in ([], [None])
    assert re.search(r"^\s*#", text, re.MULTILINE), "say in comments what the values mean"


@pytest.mark.parametrize("file", [f for f in TEXT_FILES if f.suffix == ".json"], ids=relative)
def test_every_json_loads(file: Path) -> None:
    json.loads(file.read_text(encoding="utf-8"))


MACHINE_PATH = re.compile(r"(?<![\w.~$})-])/(?:work|root|home/\w+|Users/\w+|tmp/\w+)(?:/|\b)")
REGISTRY_HOST = re.compile(
    r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|repo1?\.maven\b|npmjs\.org|--(?:extra-)?index-url|index\.crates"
)


@pytest.mark.parametrize("file", TEXT_FILES, ids=relative)
def test_no_file_names_a_machine_or_a_registry(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert MACHINE_PATH.findall(text) == []
    assert REGISTRY_HOST.findall(text) == []


def test_what_the_scans_look_for_is_found() -> None:
    """The scans above can fail."""
    slash = "/"
    assert MACHINE_PATH.search(f"cache = '{slash}root{slash}.cache'")
    assert MACHINE_PATH.search(f"open({slash}tmp{slash}x.log)")
    assert not MACHINE_PATH.search("GET /shop-ko/_search, model/root/x and https://host/work/")
    assert REGISTRY_HOST.search("https://" + "pypi" + ".org/simple")


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    line = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!-]*( ; [^@/]+)?")
    for text in (ROOT / "constraints.txt").read_text().splitlines():
        assert text.startswith("#") or line.fullmatch(text), text


def test_the_distribution_holds_what_it_ships(tmp_path: Path) -> None:
    """A wheel, built as a release is: all files of packages, templates, bundles, recipes and written rows are in it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    homes = {
        "model/csrm": "csrm",
        "plugin/csrm_opensearch": "csrm_opensearch",
        "ray_serve/csrm_serve": "csrm_serve",
        "cli/csrm_cli": "csrm_cli",
        "index_templates": "csrm_opensearch/index_templates",
        "model/bundles": "csrm/bundles",
        "model/recipes": "csrm/recipes",
        "model/data": "csrm/data",
    }
    for folder, package in homes.items():
        files = [file for file in tracked_files() if file.is_relative_to(ROOT / folder)]
        assert files, f"{folder} is empty"
        missing = [f for f in files if f"{package}/{f.relative_to(ROOT / folder).as_posix()}" not in shipped]
        assert not missing


def test_constraints_fit_what_the_project_depends_on() -> None:
    """After a change of dependencies: `make constraints`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [
        Requirement(text) for text in [*project["dependencies"], *(one for extra in extras for one in extra)]
    ]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned: dict[str, set[str]] = {}
    for pin in map(Requirement, lines):
        pinned.setdefault(pin.name, set()).add(str(pin.specifier).removeprefix("=="))
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        if name != project["name"]:
            assert name in pinned, f"{name} has no line"
            assert all(version in requirement.specifier for version in pinned[name]), requirement
