"""OpenSearch's REST tests, directly and through the gateway: does anybody notice which?

    python -m benchmarks.rest_suite [FOLDER ...] [--json FILE]

Every test runs on a node of its own, directly and through a gateway whose profile covers every index; a test that
searches runs a third time with the shopper's text said outright (`ext.csrm.query`), so that searches without any are
reranked too. The relevance service finds everything relevant and the profile keeps OpenSearch's order: a search that
goes the whole way (window, judgments, page) must come out as it was. Compared are, step by step, the status, what each
assertion says of the answer, and, where an answer does not change by itself, all of it. A test that differs is run
again: values that also differ between two direct runs are the node's doing, and of them only the status and what the
assertions say are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import publish
from benchmarks.rest_tests import Case, Request, RestTests, Step, rest_tests
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.testing import opensearch_node
from tests.integration.gateway.running import running_gateway
from tests.integration.gateway.word_service import word_service

FIELDS = "title body text field field1 field2 foo name message keyword str string content description count"
"""Where the tests' documents have their texts."""

STEADY = (
    "search msearch scroll count get get_source mget exists explain suggest termvectors mtermvectors field_caps"
    " search_template msearch_template render_search_template search_shards ping index create update delete"
    " indices.get_mapping indices.validate_query indices.analyze indices.get_alias indices.get_field_mapping"
)
"""APIs of which the whole answer is compared."""
CHANGING = "took _scroll_id _seq_no _primary_term scroll_id node index_uuid line col"
"""Members that differ from one call to the next, and places in a body, which the gateway writes without blanks."""
_GIVEN_ID = r"^[\w-]{20,22}$"
"""An id that OpenSearch gave by chance, of a document or an index."""
_CONTEXT = r"id \[\d+\]|\[\d+:\d+\]"
_SAID = b'"ext":{"csrm":{"query":"said outright"}}'
_TRIES = 3

Transcript = list[tuple[object, ...]]


@dataclass
class Report:
    """What was run and what differed."""

    tests: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    differing: dict[str, list[str]] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        return {
            "tests": self.tests,
            "passed": dict(self.passed),
            "searches_by_outcome": dict(self.outcomes),
            "differing": self.differing,
        }


class _Server:
    """One way to the node, over one kept connection; ``outright`` says a shopper's text with each search."""

    def __init__(self, url: str, outcomes: Counter[str], *, outright: bool = False) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._outcomes = outcomes
        self._outright = outright

    def ask(self, request: Request) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        body = _said_outright(request) if self._outright else request.body
        self._connection.request(request.method, request.path, body, dict(request.headers))
        answer = self._connection.getresponse()
        status = answer.getheader("csrm-status")
        if status:
            self._outcomes[status.partition("; window")[0].partition("; searches")[0]] += 1
        return answer.status, answer.getheader("content-type") or "", answer.read()

    def clean(self) -> None:
        """Leave nothing of a test behind."""
        for path in (
            "/*?expand_wildcards=all&ignore_unavailable=true",
            "/_template/*",
            "/_index_template/*",
            "/_component_template/*",
            "/_ingest/pipeline/*",
            "/_search/scroll/_all",
        ):
            self.ask(Request("DELETE", path, None, {}))

    def close(self) -> None:
        self._connection.close()


def clean(node: str) -> None:
    """Leave no index, template or pipeline on a node."""
    server = _Server(node, Counter())
    server.clean()
    server.close()


def _said_outright(request: Request) -> bytes | None:
    """The body with the text in it, where it is that of a search."""
    body, path = request.body, request.path.partition("?")[0]
    if body and path.endswith("/_search"):
        return _with_text(body)
    if body and path.endswith("/_msearch"):
        lines = body.split(b"\n")
        lines[1::2] = map(_with_text, lines[1::2])
        return b"\n".join(lines)
    return body


def _with_text(search: bytes) -> bytes:
    inside = search.strip()[1:]
    if not search.strip().startswith(b"{") or b'"ext"' in search:
        return search
    return b"{" + _SAID + (b"" if inside.startswith(b"}") else b", ") + inside


class _Run:
    """A test under way: what its steps said, and the values it put aside."""

    def __init__(self, server: _Server, tests: RestTests) -> None:
        self._server = server
        self._tests = tests
        self._stash: dict[str, Any] = {}
        self._answer: Any = None
        self.transcript: Transcript = []
        self.failures: list[str] = []

    def all(self, case: Case) -> None:
        try:
            for step in case.steps:
                self._step(step)
        finally:
            for step in case.teardown:
                with contextlib.suppress(KeyError, ValueError):
                    self._step(step)

    def _step(self, step: Step) -> None:
        ((kind, told),) = step.items()
        if kind == "do":
            self._do(self._filled(told))
            return
        if kind == "set":
            for path, name in told.items():
                self._stash[name] = self._at(path)
            return
        for path, expected in told.items() if isinstance(told, dict) else [(told, None)]:
            found = self._at(path)
            right = _holds(kind, found, self._filled(expected))
            unsteady = any(name in str(path) for name in CHANGING.split())
            self.transcript.append((kind, path, right, None if unsteady else _comparable(found)))
            if not right:
                self.failures.append(f"{kind} {path}: {found!r:.200} for {expected!r:.200}")

    def _do(self, told: dict[str, Any]) -> None:
        catch, headers = told.pop("catch", None), told.pop("headers", {})
        for name in ("warnings", "allowed_warnings", "node_selector"):
            told.pop(name, None)
        ((api, arguments),) = told.items()
        request = self._tests.request(api, arguments or {}, headers)
        status, kind, body = self._server.ask(request)
        self._answer = _read(request.method, status, kind, body)
        steady = api in STEADY.split()
        self.transcript.append((api, status, kind, _comparable(self._answer) if steady else None))
        if (status < 400) == bool(catch) and request.method != "HEAD":
            self.failures.append(f"{request.method} {request.path}: {status} {body[:200]!r}")

    def _at(self, path: str) -> Any:
        """A value of the last answer; null where there is none."""
        value = self._answer
        if path in {"", "$body"}:
            return value
        for part in re.split(r"(?<!\\)\.", self._filled(str(path).removeprefix("$body."))):
            key = part.replace("\\.", ".")
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key == "_arbitrary_key_" and value:
                value = next(iter(value))
            elif isinstance(value, dict):
                value = value.get(key)
            else:
                return None
        return value

    def _filled(self, value: Any) -> Any:
        """A value with what was put aside in it."""
        if isinstance(value, dict):
            return {self._filled(key): self._filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if isinstance(value, str) and "$" in value:
            if (name := value.strip("${}")) in self._stash and value.startswith("$"):
                return self._stash[name]
            return re.sub(r"\$\{?(\w+)\}?", lambda found: str(self._stash.get(found[1], found[0])), value)
        return value


def _read(method: str, status: int, kind: str, body: bytes) -> Any:
    if method == "HEAD":
        return status < 400
    if "json" in kind:
        return json.loads(body or b"null")
    return body.decode(errors="replace")


def _comparable(value: Any) -> Any:
    """An answer without what differs from one call to the next."""
    if isinstance(value, dict):
        return {key: _comparable(one) for key, one in value.items() if key not in CHANGING.split()}
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    return re.sub(f"{_GIVEN_ID}|{_CONTEXT}", "...", value) if isinstance(value, str) else value


def _holds(kind: str, found: Any, expected: Any) -> bool:
    match kind:
        case "is_true":
            return found not in (None, False, "", 0, "false")
        case "is_false":
            return found in (None, False, "", 0, "false")
        case "length":
            return found is not None and len(found) == int(expected)
        case "contains":
            return isinstance(found, list) and any(_contains(one, expected) for one in found)
        case "match":
            if isinstance(expected, str) and re.fullmatch(r"\s*/.*/\s*", expected, re.DOTALL):
                pattern = expected.strip()[1:-1].replace("\\/", "/")
                return re.search(pattern, str(found), re.VERBOSE) is not None
            return bool(found == expected or str(found) == str(expected))
        case _:
            how = {"gt": found > expected, "gte": found >= expected, "lt": found < expected} if found else {}
            return bool(how.get(kind, found is not None and kind == "lte" and found <= expected))


def _contains(one: Any, expected: Any) -> bool:
    return one == expected or (
        isinstance(one, dict) and isinstance(expected, dict) and expected.items() <= one.items()
    )


def compare(tests: RestTests, node: str, gateway: str, *, tell: bool = False) -> Report:
    """Run every test both ways.

    Args:
        tests: which.
        node: URL of a node on which everything may be deleted.
        gateway: URL of a gateway before it.
        tell: say on standard error how far it is.
    """
    report = Report()
    servers = {
        "direct": _Server(node, Counter()),
        "gateway": _Server(gateway, report.outcomes),
        "outright": _Server(gateway, report.outcomes, outright=True),
    }
    servers["direct"].clean()
    for number, case in enumerate(tests.cases):
        if tell and number % 50 == 0:
            sys.stderr.write(f"{number}/{len(tests.cases)}\n")
        report.tests += 1
        direct = _run(case, servers["direct"], tests)
        report.passed["direct"] += not direct.failures
        for way in ("gateway", "outright") if _searches(case) else ("gateway",):
            through = _run(case, servers[way], tests)
            report.passed[way] += not through.failures
            if found := _lasting(case, tests, servers["direct"], direct, servers[way], through):
                report.differing[f"{case.name} ({way})"] = found
                if tell:
                    sys.stderr.write(f"{case.name} ({way}) differs: {found}\n")
    return report


def _run(case: Case, server: _Server, tests: RestTests) -> _Run:
    run = _Run(server, tests)
    try:
        run.all(case)
    except (KeyError, ValueError, TypeError) as error:  # an API or a way of asking that is no more
        run.failures.append(f"cannot be run: {error!r}")
    server.clean()
    server.close()  # the next request opens it again: one that is idle for long may be closed by the other side
    return run


def _searches(case: Case) -> bool:
    return any({"search", "msearch"} & step.get("do", {}).keys() for step in case.steps)


def _lasting(
    case: Case, tests: RestTests, node: _Server, direct: _Run, gateway: _Server, through: _Run
) -> list[str]:
    """The differences that are there each time, and in places where direct runs do not differ from one another."""
    places = _differences(direct, through)
    unsteady: set[int] = set()
    for _ in range(_TRIES):
        if not places:
            return []
        again = _run(case, node, tests)
        unsteady |= set(_differences(direct, again))
        through = _run(case, gateway, tests)
        places = [
            place
            for place in _differences(again, through)
            if place not in unsteady or _said(again, place) != _said(through, place)
        ]
    return [f"{_at_step(again, place)!r:.600} / {_at_step(through, place)!r:.600}" for place in places[:5]]


def _differences(first: _Run, second: _Run) -> list[int]:
    """Places in the transcripts."""
    longest = max(len(first.transcript), len(second.transcript))
    return [place for place in range(longest) if _at_step(first, place) != _at_step(second, place)]


def _at_step(run: _Run, place: int) -> tuple[object, ...] | None:
    return run.transcript[place] if place < len(run.transcript) else None


def _said(run: _Run, place: int) -> tuple[object, ...] | None:
    """A line of the transcript without the value."""
    step = _at_step(run, place)
    return step and step[:-1]


@contextlib.contextmanager
def agreeable_gateway(node: str) -> Iterator[str]:
    """A gateway on every index, with a service that finds everything relevant; its URL."""
    with word_service() as service:
        profile: Mapping[str, Any] = {
            "name": "all",
            "indices": ["*"],
            "text_fields": FIELDS.split(),
            "time_budget_ms": 10_000,
            "threshold": 1.0,
            "blend": {"relevance": 0.0, "lexical": 1.0},
        }
        told = {"opensearch": {"urls": [node]}, "relevance": {"url": service.url}, "profiles": [profile]}
        with running_gateway(GatewaySettings.model_validate(told)) as url:
            yield url


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", help="Only tests of these folders, e.g. search msearch.")
    parser.add_argument("--json", type=Path, help="Write the report there too.")
    told = parser.parse_args(arguments)
    with opensearch_node(kind="local") as node, agreeable_gateway(node.url) as gateway:
        report = compare(rest_tests(tuple(told.folders)), node.url, gateway, tell=True)
    publish(report.figures(), told.json)
    return 1 if report.differing else 0


if __name__ == "__main__":
    sys.exit(main())
