"""The tests of opensearch-py, directly and through the gateway: does its own client notice which?

    python -m benchmarks.client_suite CHECKOUT [--json FILE]

CHECKOUT is a checkout of https://github.com/opensearch-project/opensearch-py; its packages on PyPI have no tests. The
tests that want a server, of the ordinary client and of the asynchronous one, are run as the checkout says: against a
node, and against the gateway of `benchmarks.rest_suite`, which covers every index of it. Compared is, test by test,
how it ended and the first line of what it says if it did not pass. Where anything differs, everything is run again,
both ways: what differs each time is the gateway's doing, unless direct runs differ in it among themselves.

Left out are the tests of gRPC and of a secured node, and the REST tests, which `benchmarks.rest_suite` has. Tests of
plugins that the node does not have fail or are skipped both ways, which counts as no difference.

Beyond this project's environment for development, the tests need `pip install mock pytz pytest-mock`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.figures import publish
from benchmarks.rest_suite import agreeable_gateway, clean
from csrm_opensearch.testing import opensearch_node

FOLDERS = ("test_opensearchpy/test_server", "test_opensearchpy/test_async/test_server")
SPARED = ("*/test_grpc", "*/test_rest_api_spec.py")
_PLUGINS = {"mocker": "pytest-mock"}
"""Fixtures of the tests that a plugin of pytest brings."""
_KINDS = {"failure": "failed", "error": "error", "skipped": "skipped"}
"""How JUnit's report tells what became of a test that did not pass."""
_ROUNDS = 3
_TIMEOUT_S = 1800

Outcomes = Mapping[str, "Outcome"]


class SuiteError(Exception):
    """The tests cannot be run; says why."""


@dataclass(frozen=True)
class Outcome:
    """How a test ended (passed, failed, error, skipped), and what it said."""

    kind: str
    said: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.said}" if self.said else self.kind


_NOT_RUN = Outcome("not run")


@dataclass
class Report:
    """What was run and what differed.

    Attributes:
        outcomes: how many tests ended how, by way, in the first run.
        differing: a test's outcomes, by way, that differed each time.
        unsteady: as ``differing``, of tests that differed once and not again, or that direct runs disagree on.
        searches: what the gateway said of the searches in all runs.
    """

    tests: int = 0
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    differing: dict[str, dict[str, str]] = field(default_factory=dict)
    unsteady: dict[str, dict[str, str]] = field(default_factory=dict)
    searches: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        return {
            "tests": self.tests,
            "outcomes": self.outcomes,
            "differing": self.differing,
            "unsteady": self.unsteady,
            "searches_by_outcome": self.searches,
        }


def server_tests(checkout: Path) -> list[str]:
    """The folders of a checkout with tests that want a server.

    Raises:
        SuiteError: it has none.
    """
    folders = [folder for folder in FOLDERS if (checkout / folder).is_dir()]
    if not folders:
        raise SuiteError(
            f"CHECKOUT {checkout} has no folder {FOLDERS[0]}: it is no checkout of opensearch-py."
        )
    return folders


def compare(checkout: Path, node: str, gateway: str, *, tell: bool = False) -> Report:
    """Run the tests both ways.

    Args:
        checkout: the folder that has ``test_opensearchpy``.
        node: URL of a node on which everything may be deleted.
        gateway: URL of a gateway before it.
        tell: say on standard error how far it is.

    Raises:
        SuiteError: there are no such tests, or they cannot be run here.
    """

    def run(url: str) -> Outcomes:
        clean(node)
        outcomes = run_tests(checkout, url)
        if tell:
            way = "directly" if url == node else "through the gateway"
            sys.stderr.write(f"{way}: {_counted(outcomes)}\n")
        return outcomes

    direct = run(node)
    if not any(outcome.kind == "passed" for outcome in direct.values()):
        told = Counter(str(outcome) for outcome in direct.values()).most_common(1)[0][0]
        raise SuiteError(f"Not one test passes directly, so there is nothing to compare. Most say: {told}")
    through = run(gateway)
    report = Report(tests=len(direct.keys() | through.keys()))
    report.outcomes = {"direct": _counted(direct), "gateway": _counted(through)}
    directs = [direct]
    found = differing = _differing(directs, through)
    for _ in range(_ROUNDS - 1):
        if not differing:
            break
        directs.append(run(node))
        again = _differing(directs, run(gateway))
        differing = {name: ways for name, ways in differing.items() if name in again}
    report.differing = differing
    report.unsteady = {name: ways for name, ways in found.items() if name not in differing}
    report.searches = _searches(gateway)
    return report


def run_tests(checkout: Path, url: str) -> Outcomes:
    """Run a checkout's tests on a server, in a fresh process, with the checkout's own client where it has one.

    Raises:
        SuiteError: there are none, or they cannot be run here.
    """
    folders = server_tests(checkout)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *folders]
        command += [f"--ignore-glob={name}" for name in SPARED] + [f"--junitxml={report}"]
        try:
            done = subprocess.run(
                command,
                cwd=checkout,
                env=os.environ | {"OPENSEARCH_URL": url, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise SuiteError(f"The tests were not done after {_TIMEOUT_S} s.") from error
        said = done.stdout + done.stderr
        if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
            raise SuiteError(f"There are no tests in {' and '.join(folders)} of {checkout}.")
        ran = done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if lacking := _lacking(said, ran=ran):
            raise SuiteError(
                f"The tests need what is not installed here: {', '.join(lacking)}. --help names all they need."
            )
        if not ran or not report.exists():
            raise SuiteError(
                f"pytest could not run the tests (exit status {done.returncode}):\n{said[-2000:]}"
            )
        return _read(report, urlsplit(url).netloc)


def _lacking(said: str, *, ran: bool) -> list[str]:
    """Modules that the tests cannot be collected without, and plugins of pytest."""
    modules = [] if ran else re.findall(r"No module named '([\w.]+)'", said)
    plugins = [plugin for fixture, plugin in _PLUGINS.items() if f"fixture '{fixture}' not found" in said]
    return sorted({*modules, *plugins})


def _read(report: Path, address: str) -> Outcomes:
    """The outcomes in a JUnit report, without what differs from one run to the next: address, places in memory."""
    outcomes: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        told = next((one for one in case if one.tag in _KINDS), None)
        if told is None:
            outcomes.setdefault(name, Outcome("passed"))
            continue
        said = (told.get("message") or "").partition("\n")[0].replace(address, "...")
        outcomes.setdefault(name, Outcome(_KINDS[told.tag], re.sub(r"0x[0-9a-f]+", "...", said)))
    return outcomes


def _counted(outcomes: Outcomes) -> dict[str, int]:
    return dict(Counter(outcome.kind for outcome in outcomes.values()))


def _differing(directs: Sequence[Outcomes], through: Outcomes) -> dict[str, dict[str, str]]:
    """Tests that do not end through the gateway as they end directly.

    Where direct runs say different things, only how the test ended is compared; where they end differently, any of
    it is right.
    """
    found = {}
    for name in sorted({*directs[0], *through}):
        got = through.get(name, _NOT_RUN)
        wanted = {direct.get(name, _NOT_RUN) for direct in directs}
        if got not in wanted and (len(wanted) == 1 or got.kind not in {one.kind for one in wanted}):
            found[name] = {"direct": " | ".join(sorted(map(str, wanted))), "gateway": str(got)}
    return found


def _searches(gateway: str) -> dict[str, int]:
    """What the gateway counted: searches by outcome and reason."""
    counted: Counter[str] = Counter()
    with urlopen(f"{gateway}/_csrm/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    for metric in text_string_to_metric_families(metrics):
        for sample in metric.samples:
            if sample.name == "csrm_searches_total":
                labels = sample.labels
                counted[": ".join(filter(None, (labels["outcome"], labels["reason"])))] += int(sample.value)
    return dict(counted)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="Folder of a checkout of opensearch-py.")
    parser.add_argument("--json", type=Path, help="Write the report there too.")
    told = parser.parse_args(arguments)
    try:
        server_tests(told.checkout)  # before the node is started
        with opensearch_node(kind="local") as node, agreeable_gateway(node.url) as gateway:
            report = compare(told.checkout, node.url, gateway, tell=True)
    except SuiteError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    publish(report.figures(), told.json)
    return 1 if report.differing else 0


if __name__ == "__main__":
    sys.exit(main())
