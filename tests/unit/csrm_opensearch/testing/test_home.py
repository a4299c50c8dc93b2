"""How a home is laid out, and that one which cannot be made leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm_opensearch.testing.errors import HomeError, MavenError
from csrm_opensearch.testing.home import MODULES, Module, fetched_artifact, lay_out_modules, node_home
from csrm_opensearch.testing.java import Jdk
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES, release

DEFAULT = RELEASES[OPENSEARCH_VERSION]
GREETER = Module("greeter", "org.example.GreeterPlugin", ("greeter-*", "netty-*"), extends="lang-painless")


def jars(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_module_gets_its_jars_but_not_those_of_the_server(tmp_path: Path) -> None:
    jars(tmp_path / "lib", "netty-common-4.jar", "lucene-9.jar")
    pool = jars(tmp_path / "pool", "greeter-1.jar", "netty-common-4.jar", "netty-codec-4.jar", "lucene-9.jar")
    lay_out_modules([GREETER], pool=pool, home=tmp_path, release=DEFAULT)
    laid_out = {file.name for file in (tmp_path / "modules" / "greeter").iterdir()}
    assert laid_out == {"greeter-1.jar", "netty-codec-4.jar", "plugin-descriptor.properties"}


def test_descriptor_says_what_opensearch_wants_to_know() -> None:
    descriptor = dict(line.split("=", 1) for line in GREETER.descriptor(DEFAULT).splitlines())
    assert descriptor["classname"] == "org.example.GreeterPlugin"
    assert descriptor["opensearch.version"] == "2.19.1"
    assert descriptor["extended.plugins"] == "lang-painless"


def test_third_major_names_its_module_classes_otherwise() -> None:
    third = RELEASES["3.8.0"]
    assert "classname=org.example.GreeterModulePlugin\n" in GREETER.descriptor(third)
    assert third.module_class("org.opensearch.geo.GeoModulePlugin") == "org.opensearch.geo.GeoModulePlugin"


@pytest.mark.parametrize(
    ("version", "plugins", "message"),
    [
        ("2.4.0", False, "can be 2.19.1 or 3.8.0, not 2.4.0"),
        ("3.8.0", True, "no plugins for OpenSearch 3.8.0"),
    ],
)
def test_a_release_that_cannot_be_had_is_said(version: str, plugins: bool, message: str) -> None:
    with pytest.raises(HomeError, match=message):
        release(version, plugins=plugins)


def test_a_jar_that_maven_did_not_bring_is_named(tmp_path: Path) -> None:
    pool = jars(tmp_path / "pool", "greeter-1.jar")
    with pytest.raises(MavenError, match=r"netty-\*\.jar for the module greeter"):
        lay_out_modules([GREETER], pool=pool, home=tmp_path, release=DEFAULT)


def test_modules_extend_modules_that_are_there() -> None:
    names = {module.name for module in MODULES}
    assert {module.extends for module in MODULES} - {""} <= names


@pytest.mark.parametrize(
    ("line", "artifact"),
    [
        ("[INFO] Downloading from here: https://host.example/org/a/1/a-1.jar", "a-1.jar"),
        ("Downloading from here: https://host.example/org/b/1/b-1.zip", "b-1.zip"),
        ("[INFO] Downloading from here: https://host.example/org/a/1/a-1.pom", None),
        ("[INFO] Downloaded from here: https://host.example/org/a/1/a-1.jar (2 kB at 1 kB/s)", None),
        ("[INFO] BUILD SUCCESS", None),
    ],
)
def test_only_the_artifact_of_a_download_is_told(line: str, artifact: str | None) -> None:
    assert fetched_artifact(line) == artifact


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")
    with pytest.raises(HomeError, match="XDG_CACHE_HOME"):
        node_home(Jdk(tmp_path, 17), DEFAULT, plugins=False, progress=lambda _: None, cache=cache)


def test_a_fetch_that_fails_names_maven_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mvn").write_text("#!/bin/sh\necho '[ERROR] Unknown host somewhere'\nexit 1\n")
    (programs / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    cache = tmp_path / "cache"
    with pytest.raises(MavenError, match=r"check the network .*Unknown host somewhere"):
        node_home(Jdk(tmp_path, 17), DEFAULT, plugins=False, progress=lambda _: None, cache=cache)
    assert [file for file in cache.iterdir() if file.suffix != ".lock"] == []
