"""How long a node may take to come up: as long as it lives and says something, within reason."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from csrm_opensearch.testing.errors import NodeStartError
from csrm_opensearch.testing.java import Jdk
from csrm_opensearch.testing.process import NodeProcess, start_node

LINES_THEN_PORT = """
for line in 1 2 3 4 5 6; do echo "line $line"; sleep 0.2; done
echo 9 > "$run/http.port"
exec sleep 60
"""
LINES_FOR_EVER = 'while true; do echo "still looking for the others"; sleep 0.1; done'
ONE_LINE = "echo starting; exec sleep 60"


def start(folder: Path, script: str, timeout_s: float) -> NodeProcess:
    """A program in the place of Java; the last of its arguments is the run folder."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f'#!/bin/bash\nrun="${{@: -1}}"\n{script}\n')
    java.chmod(0o755)
    return start_node(
        folder, Jdk(folder, 17), port=None, heap_mb=16, timeout_s=timeout_s, progress=lambda _: None
    )


def test_a_slow_start_that_is_heard_of_is_waited_for(tmp_path: Path) -> None:
    """It takes 1.2 s, three times the limit, and is never silent so long."""
    node = start(tmp_path, LINES_THEN_PORT, timeout_s=0.4)
    assert node.port == 9
    node.stop()


@pytest.mark.parametrize(("script", "at_least"), [(ONE_LINE, 0.3), (LINES_FOR_EVER, 1.5)])
def test_neither_silence_nor_talk_is_waited_for_without_end(
    tmp_path: Path, script: str, at_least: float
) -> None:
    started = time.monotonic()
    with pytest.raises(NodeStartError, match=r"did not come up in \d+ s") as raised:
        start(tmp_path, script, timeout_s=0.3)
    assert time.monotonic() - started >= at_least
    assert raised.value.log_tail
