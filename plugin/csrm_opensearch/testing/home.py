"""Puts the home folder of a local OpenSearch node together from Maven artifacts, once per version and recipe.

A home has ``lib`` (the server), ``modules`` and ``plugins`` (each with its descriptor) and ``launcher`` (our
compiled LocalNode). It is only ever read after it is made, so any number of nodes can share it. Knows no
running node, and no repository address: Maven and the user's settings decide where artifacts come from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs
from filelock import FileLock

from csrm_opensearch.testing.errors import HomeError, JavaError, MavenError
from csrm_opensearch.testing.java import Jdk, find_maven
from csrm_opensearch.testing.releases import Release

Progress = Callable[[str], None]

_MAVEN_TIMEOUT_S = 1800.0
_ASSETS = resources.files("csrm_opensearch.testing") / "assets"


@dataclass(frozen=True)
class Module:
    """A module as OpenSearch loads it from ``modules/NAME``; its Maven jars come without this descriptor.

    Attributes:
        classname: as 2.x has it.
        jars: name patterns of its jars; those that the server has already are left out.
    """

    name: str
    classname: str
    jars: tuple[str, ...]
    extends: str = ""

    def descriptor(self, release: Release) -> str:
        return (
            f"name={self.name}\ndescription={self.name}\nversion={release.version}\n"
            f"opensearch.version={release.version}\njava.version=11\n"
            f"classname={release.module_class(self.classname)}\nextended.plugins={self.extends}\n"
            "has.native.controller=false\n"
        )


MODULES = (
    Module(
        "transport-netty4",
        "org.opensearch.transport.Netty4Plugin",
        ("transport-netty4-client-*", "*netty[-4]*"),
    ),
    Module(
        "aggs-matrix-stats",
        "org.opensearch.search.aggregations.matrix.MatrixAggregationPlugin",
        ("aggs-matrix-stats-client-*",),
    ),
    Module(
        "analysis-common",
        "org.opensearch.analysis.common.CommonAnalysisPlugin",
        ("analysis-common-*",),
        extends="lang-painless",
    ),
    Module("geo", "org.opensearch.geo.GeoModulePlugin", ("geo-[0-9]*",)),
    Module(
        "ingest-common",
        "org.opensearch.ingest.common.IngestCommonPlugin",
        ("ingest-common-*", "opensearch-grok-*", "opensearch-dissect-*", "joni-*", "jcodings-*"),
        extends="lang-painless",
    ),
    Module(
        "lang-mustache",
        "org.opensearch.script.mustache.MustachePlugin",
        ("lang-mustache-client-*", "compiler-*"),
    ),
    Module(
        "lang-painless",
        "org.opensearch.painless.PainlessPlugin",
        ("lang-painless-*", "opensearch-scripting-painless-spi-*", "antlr4-runtime-*", "asm*"),
    ),
    Module("mapper-extras", "org.opensearch.index.mapper.MapperExtrasPlugin", ("mapper-extras-client-*",)),
    Module("parent-join", "org.opensearch.join.ParentJoinPlugin", ("parent-join-client-*",)),
    Module("rank-eval", "org.opensearch.index.rankeval.RankEvalPlugin", ("rank-eval-client-*",)),
    Module(
        "reindex",
        "org.opensearch.index.reindex.ReindexPlugin",
        ("reindex-client-*", "opensearch-rest-client-*", "opensearch-ssl-config-*", "http*", "commons-*"),
    ),
    Module(
        "search-pipeline-common",
        "org.opensearch.search.pipeline.common.SearchPipelineCommonModulePlugin",
        ("search-pipeline-common-*",),
        extends="lang-painless",
    ),
)


def node_home(
    jdk: Jdk, release: Release, *, plugins: bool, progress: Progress, cache: Path | None = None
) -> Path:
    """The home folder of a local node, put together if this machine does not have it yet.

    Two processes that ask at once make it once; one that is interrupted leaves nothing half made behind.

    Args:
        jdk: compiles the launcher and runs Maven; new enough for the release.
        release: of :mod:`csrm_opensearch.testing.releases`.
        plugins: with job-scheduler, k-NN, neural-search and ml-commons.
        cache: folder to keep homes in; the user's cache folder by default.

    Raises:
        MavenError: no Maven, or it could not fetch the artifacts.
        JavaError: the launcher does not compile.
        HomeError: the folder cannot be written.
    """
    root = cache or platformdirs.user_cache_path("csrm-opensearch") / "opensearch"
    kind = "plugins" if plugins else "plain"
    home = root / f"{release.version}-{kind}-{_recipe_hash(release)}"
    if home.is_dir():
        return home
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{home.name}.lock"):
            if home.is_dir():  # another process made it while this one waited
                return home
            with tempfile.TemporaryDirectory(dir=root, prefix="making-") as folder:
                making = Path(folder) / "home"
                _make(making, jdk, release, plugins, progress)
                making.rename(home)
    except OSError as error:
        raise HomeError(
            f"OpenSearch cannot be put together in {root} ({error.strerror}): free some space there, or name "
            "another cache folder with XDG_CACHE_HOME."
        ) from error
    return home


def _recipe_hash(release: Release) -> str:
    """Changes when anything that a home is made from changes, so an upgrade never meets an old home."""
    recipe = hashlib.sha256(repr((MODULES, release)).encode())
    for name in ("pom.xml", "LocalNode.java"):
        recipe.update((_ASSETS / name).read_bytes())
    return recipe.hexdigest()[:8]


def _make(home: Path, jdk: Jdk, release: Release, plugins: bool, progress: Progress) -> None:
    home.mkdir()
    (home / "plugins").mkdir()  # OpenSearch wants the folder, even an empty one
    _fetch(home, jdk, release, plugins, progress)
    progress(f"Putting OpenSearch {release.version} together")
    lay_out_modules(MODULES, pool=home / "pool", home=home, release=release)
    shutil.rmtree(home / "pool")
    shutil.rmtree(home / "target", ignore_errors=True)
    _compile_launcher(home, jdk)


def _fetch(home: Path, jdk: Jdk, release: Release, plugins: bool, progress: Progress) -> None:
    maven = find_maven()
    what = f"OpenSearch {release.version}{' and its plugins' if plugins else ''}"
    progress(f"Fetching {what} with Maven, once")
    pom = home / "pom.xml"
    pom.write_bytes((_ASSETS / "pom.xml").read_bytes())
    versions = (
        f"-Dopensearch.version={release.version}",
        f"-Dlog4j.version={release.log4j}",
        f"-Dpipelines.version={release.pipelines}",
    )
    command = [str(maven), "-B", "-f", str(pom), *versions, "package"]
    if plugins:
        command.append("-Pplugins")
    maven_run = subprocess.Popen(
        command,
        env=os.environ | {"JAVA_HOME": str(jdk.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    timer = threading.Timer(_MAVEN_TIMEOUT_S, maven_run.kill)
    timer.start()
    complaints: list[str] = []
    told_at = 0.0
    try:
        assert maven_run.stdout is not None
        for line in maven_run.stdout:
            if line.startswith("[ERROR]"):
                complaints.append(line.removeprefix("[ERROR]").strip())
            artifact = fetched_artifact(line)
            # Of many small files one a second is enough; a zip takes long, so its name must show.
            if artifact and (artifact.endswith(".zip") or time.monotonic() - told_at > 1.0):
                told_at = time.monotonic()
                progress(f"Fetching {what} with Maven, once: {artifact}")
        code = maven_run.wait()
    finally:
        timer.cancel()
        if maven_run.poll() is None:
            maven_run.kill()
            maven_run.wait()
    if code != 0:
        reason = complaints[0] if complaints else f"exit code {code}"
        raise MavenError(
            f"Maven could not fetch OpenSearch {release.version}: check the network and your Maven "
            f"settings, then try again ({reason})."
        )


def fetched_artifact(line: str) -> str | None:
    """The file name in a line in which Maven announces a download, or None in any other line.

    >>> fetched_artifact("[INFO] Downloading from somewhere: https://host/maven2/org/a/1/a-1.jar")
    'a-1.jar'
    """
    match = re.search(r"Downloading from .*/([^/\s]+\.(?:jar|zip))\s*$", line)
    return match[1] if match else None


def lay_out_modules(modules: Iterable[Module], *, pool: Path, home: Path, release: Release) -> None:
    """Sorts the jars of ``pool`` into ``home/modules/NAME`` and writes each module's descriptor.

    Raises:
        MavenError: the pool lacks a jar that a module needs.
    """
    served = {jar.name for jar in (home / "lib").glob("*.jar")}
    for module in modules:
        folder = home / "modules" / module.name
        folder.mkdir(parents=True)
        (folder / "plugin-descriptor.properties").write_text(module.descriptor(release))
        for pattern in module.jars:
            jars = list(pool.glob(f"{pattern}.jar"))
            if not jars:
                raise MavenError(
                    f"Maven brought no {pattern}.jar for the module {module.name}: clear the local Maven "
                    "repository of org.opensearch and try again."
                )
            for jar in jars:
                if jar.name not in served:
                    shutil.copy2(jar, folder)


def _compile_launcher(home: Path, jdk: Jdk) -> None:
    source = home / "LocalNode.java"
    source.write_bytes((_ASSETS / source.name).read_bytes())
    compiled = subprocess.run(
        [
            jdk.javac,
            "--release",
            "17",
            "-proc:none",
            "-cp",
            f"{home / 'lib'}/*",
            "-d",
            home / "launcher",
            source,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    if compiled.returncode != 0:
        raise JavaError(
            f"{jdk.javac} could not compile the launcher: use another JDK "
            f"({compiled.stderr.strip().splitlines()[:1]})."
        )
