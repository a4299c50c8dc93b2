"""The REST tests that OpenSearch inherited: fetched with Maven, read from their YAML, turned into HTTP requests.

OpenSearch publishes its own copy in no artifact; `org.elasticsearch:rest-api-spec:7.10.2` (Apache-2.0) is what it was
forked with. Knows the format of the tests and of the API descriptions; sends nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import platformdirs
import yaml

from csrm_opensearch.testing.java import find_maven

ARTIFACT = "org.elasticsearch:rest-api-spec:7.10.2"
VERSION = (7, 10, 2)
FEATURES = "headers warnings allowed_warnings contains stash_in_path yaml default_shards no_xpack regex arbitrary_key"
"""What a test may ask of its runner; a test that asks for more is left out."""

SPARED = ("nodes.", "snapshot", "cluster.put_settings", "cat.repositories", "cat.snapshots", "cluster.voting")
"""Folders left out: what they ask changes by itself, needs a repository on disk, or changes the whole node."""

Step = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One test. ``steps`` begin with the file's ``setup``; ``teardown`` is done whatever becomes of them."""

    name: str
    steps: list[Step]
    teardown: list[Step]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True)
class RestTests:
    """The tests and the descriptions of the APIs that they call."""

    apis: Mapping[str, Any]
    cases: list[Case] = field(repr=False)

    def request(self, api: str, told: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        """What a client would send for a call.

        Raises:
            KeyError: there is no such API in OpenSearch.
        """
        spec, told = self.apis[api], dict(told)
        body = told.pop("body", None)
        told.pop("ignore", None)
        paths = [path for path in spec["url"]["paths"] if set(path.get("parts", {})) <= told.keys()]
        path = max(paths, key=lambda one: (len(one.get("parts", {})), not one.get("deprecated")))
        target = path["path"]
        for part in path.get("parts", {}):
            target = target.replace(f"{{{part}}}", quote(_text(told.pop(part)), safe=",*"))
        query = {name: _text(value) for name, value in told.items()}
        methods = path["methods"]
        method = "POST" if body is not None and "POST" in methods and "PUT" not in methods else methods[0]
        sent = _body(body, bulk=spec.get("body", {}).get("serialize") == "bulk")
        kind = "application/x-ndjson" if isinstance(body, list) else "application/json"
        all_headers = ({"Content-Type": kind} if sent is not None else {}) | dict(headers)
        return Request(method, target + (f"?{urlencode(query)}" if query else ""), sent, all_headers)


def rest_tests(folders: tuple[str, ...] = ()) -> RestTests:
    """The tests of some folders, or all but those that are ``SPARED``.

    Raises:
        MavenError: there is no Maven.
        RuntimeError: Maven could not fetch them.
    """
    with zipfile.ZipFile(_fetched()) as jar:
        names = sorted(jar.namelist())
        apis = {}
        for name in names:
            if re.fullmatch(r"rest-api-spec/api/[^_][^/]*\.json", name):
                apis |= json.loads(jar.read(name))
        cases: list[Case] = []
        for name in names:
            if found := re.fullmatch(r"rest-api-spec/test/([^/]+)/([^/]+)\.yml", name):
                folder = found[1]
                if folder in folders or not (folders or folder.startswith(SPARED)):
                    cases += _cases(f"{folder}/{found[2]}", jar.read(name))
    return RestTests(apis, cases)


def _fetched() -> Path:
    folder = platformdirs.user_cache_path("csrm-opensearch") / "rest-tests"
    jar = folder / "rest-api-spec-7.10.2.jar"
    if not jar.is_file():
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
        told = [f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
        done = subprocess.run(
            [str(find_maven()), "-B", "-q", goal, *told], capture_output=True, text=True, timeout=600
        )
        if done.returncode or not jar.is_file():
            raise RuntimeError(f"Maven could not fetch {ARTIFACT}: {done.stdout[-500:]}")
    return jar


def _cases(file: str, text: bytes) -> Iterator[Case]:
    """The tests of a file that this runner can run against a node of today."""
    setup: list[Step] = []
    teardown: list[Step] = []
    tests: list[tuple[str, list[Step]]] = []
    for document in yaml.load_all(text, yaml.CSafeLoader):
        for name, steps in (document or {}).items():
            match name:
                case "setup":
                    setup = steps
                case "teardown":
                    teardown = steps
                case _:
                    tests.append((str(name), steps))
    for name, steps in tests:
        every = [*setup, *steps]
        skips = [step["skip"] for step in every if "skip" in step]
        if not any(map(_skipped, skips)):
            yield Case(f"{file}: {name}", [step for step in every if "skip" not in step], teardown)


def _skipped(skip: Mapping[str, Any]) -> bool:
    features = skip.get("features", [])
    wanted = {features} if isinstance(features, str) else set(features)
    if not wanted <= set(FEATURES.split()):
        return True
    span = str(skip.get("version", ""))
    if span == "all":
        return True
    low, dash, high = span.partition("-")
    return bool(dash) and _version(low, (0,)) <= VERSION <= _version(high, (99,))


def _version(text: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text))) or default


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(body: object, *, bulk: bool) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, str):
        return (body if body.endswith("\n") or not bulk else body + "\n").encode()
    if isinstance(body, list) and bulk:
        lines = [line if isinstance(line, str) else json.dumps(line) for line in body]
        return "".join(line.rstrip("\n") + "\n" for line in lines).encode()
    return json.dumps(body, default=str).encode()
