"""Every reason in ``csrm-status`` is explained, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from csrm_opensearch import errors

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "plugin" / "csrm_opensearch"


def reasons() -> set[str]:
    """All reasons that the code gives."""
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    found = set(re.findall(r'\b(?:Skip|skipped)\(\s*"([a-z0-9-]+)"', source))
    found |= set(re.findall(r'_own\(search, answer, "([a-z-]+)"', source))
    for names in re.findall(r"for name in \(([^)]*)\):\n\s+if (?:params|body)\.get\(name\)", source):
        found |= {name.replace("_", "-") for name in re.findall(r'"(\w+)"', names)}
    pending = [errors.RelevanceError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        if error is not errors.RelevanceError:
            found.add(error.reason)
    return found


def test_the_scan_finds_reasons_of_every_kind() -> None:
    assert {"off", "search-after", "scroll", "no-hits", "deadline", "control"} <= reasons()


def test_the_manual_explains_each_and_no_other() -> None:
    manual = (ROOT / "docs" / "gateway.md").read_text()
    table = manual.partition("| reason |")[2].partition("\n\n")[0]
    explained = {
        reason
        for line in table.splitlines()[2:]
        for reason in re.findall(r"`([a-z0-9-]+)`", line.split("|")[1])
    }
    assert explained == reasons()


def test_the_playground_knows_no_other() -> None:
    script = (PACKAGE / "gateway" / "playground" / "playground.js").read_text()
    known = script.partition("const REASONS = {")[2].partition("};")[0]
    words = {
        quoted or bare for quoted, bare in re.findall(r'^  (?:"([a-z0-9-]+)"|(\w+)):', known, re.MULTILINE)
    }
    assert {"deadline", "no-hits"} <= words <= reasons()
