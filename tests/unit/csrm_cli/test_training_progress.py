"""How far a training is: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import io

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
