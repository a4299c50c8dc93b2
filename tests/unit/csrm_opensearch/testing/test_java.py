"""Which Java is taken, and what is said when none can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm_opensearch.testing import java as java_module
from csrm_opensearch.testing.errors import JavaError, MavenError
from csrm_opensearch.testing.java import Jdk, find_jdk, find_maven, parse_java_properties


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, no JAVA_HOME, and no JDK of the distribution."""
    monkeypatch.setattr(java_module, "INSTALLED", tmp_path / "installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def install_java(home: Path, version: str, *, compiler: bool = True) -> Path:
    """A program that tells its version as java does."""
    programs = home / "bin"
    programs.mkdir(parents=True)
    java = programs / "java"
    java.write_text(
        "#!/bin/sh\n"
        f"echo '    java.home = {home}' >&2\n"
        f"echo '    java.specification.version = {version}' >&2\n"
        "echo '    java.vm.specification.version = 99' >&2\n"
    )
    java.chmod(0o755)
    if compiler:
        (programs / "javac").write_text("#!/bin/sh\n")
        (programs / "javac").chmod(0o755)
    return java


@pytest.mark.parametrize(("written", "version"), [("17", 17), ("21", 21), ("1.8", 8)])
def test_version_is_read_as_java_prints_it(written: str, version: int) -> None:
    shown = f"Property settings:\n    java.home = /opt/my jdk\n    java.specification.version = {written}\n"
    assert parse_java_properties(shown) == Jdk(Path("/opt/my jdk"), version)


def test_other_output_is_no_java() -> None:
    assert parse_java_properties("The operation couldn't be completed.") is None


def test_no_java(bare_path: Path) -> None:
    with pytest.raises(JavaError, match="No JDK 17 or later was found: install one"):
        find_jdk()


def test_java_too_old(bare_path: Path, tmp_path: Path) -> None:
    (bare_path / "java").symlink_to(install_java(tmp_path / "jdk11", "11"))
    with pytest.raises(JavaError, match="is Java 11"):
        find_jdk()


def test_runtime_without_compiler(bare_path: Path, tmp_path: Path) -> None:
    (bare_path / "java").symlink_to(install_java(tmp_path / "jre", "21", compiler=False))
    with pytest.raises(JavaError, match="is a runtime without javac"):
        find_jdk()


def test_java_that_does_not_run(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(bare_path / "nowhere"))
    with pytest.raises(JavaError, match="does not run"):
        find_jdk()


def test_java_home_goes_before_path(bare_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_path / "java").symlink_to(install_java(tmp_path / "jdk17", "17"))
    install_java(tmp_path / "jdk21", "21")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk21"))
    assert find_jdk() == Jdk(tmp_path / "jdk21", 21)


def test_path_helps_out_when_java_home_is_too_old(
    bare_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_path / "java").symlink_to(install_java(tmp_path / "jdk17", "17"))
    install_java(tmp_path / "jdk8", "1.8")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk8"))
    assert find_jdk() == Jdk(tmp_path / "jdk17", 17)


def test_release_that_needs_a_newer_java_finds_it_beside_the_default(bare_path: Path, tmp_path: Path) -> None:
    (bare_path / "java").symlink_to(install_java(tmp_path / "jdk17", "17"))
    with pytest.raises(JavaError, match=r"No JDK 21 or later was found .*is Java 17"):
        find_jdk(21)
    install_java(tmp_path / "installed" / "jdk25", "25")
    assert find_jdk(21) == Jdk(tmp_path / "installed" / "jdk25", 25)
    assert find_jdk() == Jdk(tmp_path / "jdk17", 17)


def test_no_maven(bare_path: Path) -> None:
    with pytest.raises(MavenError, match="was not found: install it"):
        find_maven()
