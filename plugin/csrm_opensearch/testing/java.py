"""Finds a JDK and Maven on this machine. Knows no OpenSearch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from csrm_opensearch.testing.errors import JavaError, MavenError

MINIMUM_JAVA = 17
INSTALLED = Path("/usr/lib/jvm")
"""Where Linux distributions put their JDKs."""
_DOCKER_INSTEAD = "or start a Docker engine, or set OPENSEARCH_URL to a node that runs"


@dataclass(frozen=True)
class Jdk:
    """A Java that can run and compile.

    Attributes:
        home: its folder (what JAVA_HOME names).
        version: the feature release, e.g. 17.
    """

    home: Path
    version: int

    @property
    def java(self) -> Path:
        return self.home / "bin" / "java"

    @property
    def javac(self) -> Path:
        return self.home / "bin" / "javac"


def find_jdk(minimum: int = MINIMUM_JAVA) -> Jdk:
    """The first JDK of at least version ``minimum``.

    Looked for where JAVA_HOME points, on the PATH, and where distributions install them.

    Raises:
        JavaError: none was found, or those found are too old or have no compiler.
    """
    unfit: list[str] = []
    for java in _candidates():
        jdk = _inspect(java)
        if jdk is None:
            unfit.append(f"{java} does not run")
        elif jdk.version < minimum:
            unfit.append(f"{java} is Java {jdk.version}")
        elif shutil.which(jdk.javac) is None:
            unfit.append(f"{java} is a runtime without javac")
        else:
            return jdk
    found = f" ({'; '.join(unfit)})" if unfit else ""
    raise JavaError(f"No JDK {minimum} or later was found{found}: install one, {_DOCKER_INSTEAD}.")


def find_maven() -> Path:
    """The ``mvn`` on the PATH.

    Raises:
        MavenError: there is none.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise MavenError(f"Maven (mvn) was not found: install it, {_DOCKER_INSTEAD}.")
    return Path(maven)


def parse_java_properties(text: str) -> Jdk | None:
    """Reads what ``java -XshowSettings:properties -version`` prints; None when it tells no home or version.

    >>> parse_java_properties("    java.home = /opt/jdk\\n    java.specification.version = 21\\n")
    Jdk(home=PosixPath('/opt/jdk'), version=21)
    """
    home = re.search(r"^\s*java\.home = (.+?)\s*$", text, re.MULTILINE)
    # Up to Java 8 the version was written 1.8.
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", text, re.MULTILINE)
    if home is None or version is None:
        return None
    return Jdk(home=Path(home[1]), version=int(version[1]))


def _candidates() -> list[Path]:
    java_home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    found = [Path(java_home) / "bin" / "java"] if java_home else []
    found += [Path(on_path)] if on_path else []
    return found + sorted(INSTALLED.glob("*/bin/java"))


def _inspect(java: Path) -> Jdk | None:
    try:
        shown = subprocess.run(
            [java, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_java_properties(shown.stderr)
