"""How far a training is: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from rich.console import Console

from csrm.training.trainer import Progress
from csrm_cli.training_progress import shown


def run_of(steps: int, part: str = "") -> list[Progress]:
    return [
        Progress("grades", step, steps, 0.5, 900.0, 61.0 * (steps - step), part)
        for step in range(1, steps + 1)
    ]


STEPS = [*run_of(2, "round 1, teacher 1"), *run_of(2, "round 1, teacher 2"), *run_of(45)]


def test_teachers_and_student_have_bars_of_their_own() -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True, width=160, color_system=None)) as on_step:
        for step in STEPS[:-1]:
            on_step(step)
    last = screen.getvalue().rpartition("\x1b[2K")[2].splitlines()[:3]  # as the bars stood in the end
    assert "round 1, teacher 1, grades" in last[0] and "2/2" in last[0]
    assert "round 1, teacher 2, grades" in last[1] and "2/2" in last[1]
    assert last[2].startswith("grades")
    assert "44/45 loss 0.500 900 tokens/s, 0:01:01 left" in last[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen_on(terminal: Terminal) -> list[str]:
    """What stands on the screen in the end, line by line: who goes up a line and erases it takes it away."""
    lines, row = [""], 0
    for control, text in re.findall(r"(\x1b\[[?\d;]*\w|\r|\n)|([^\x1b\r\n]+)", terminal.getvalue()):
        if control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control == "\x1b[1A":
            row -= 1
        elif control == "\x1b[2K":
            lines[row] = ""
        lines[row] += text
    return lines


def test_log_lines_stay_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go to standard error, which is the same terminal, and the bars are drawn again and again below them."""
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger()
    handlers = [logging.StreamHandler(terminal), logging.StreamHandler(file)]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        with shown(Console(file=terminal, force_terminal=True, width=160, color_system=None)) as on_step:
            for step in STEPS[:4]:
                on_step(step)
            for line in ("first", "second", "third"):
                logger.warning(line)
            for step in STEPS[4:6]:
                on_step(step)
        assert [handler.stream for handler in handlers] == [terminal, file]
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    assert file.getvalue() == "first\nsecond\nthird\n"
    screen = [line.split(" ━")[0].strip() for line in seen_on(terminal) if line.strip()]
    bars = ["round 1, teacher 1, grades", "round 1, teacher 2, grades", "grades"]
    assert screen == ["first", "second", "third", *bars]


def test_without_a_terminal_every_twentieth_step_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), shown(Console(file=io.StringIO())) as on_step:
        for step in STEPS:
            on_step(step)
    assert [record.getMessage().partition(", loss")[0] for record in caplog.records] == [
        "round 1, teacher 1, grades: step 2 of 2",
        "round 1, teacher 2, grades: step 2 of 2",
        "grades: step 20 of 45",
        "grades: step 40 of 45",
        "grades: step 45 of 45",
    ]
    assert "0:25:25 left" in caplog.messages[2]
