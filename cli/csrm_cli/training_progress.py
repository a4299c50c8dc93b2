"""How far a training is: a bar for each stage on a terminal, a log line now and then elsewhere.

Knows the trainer's steps and how to show them; knows no recipe.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from csrm.training.record import Progress

log = logging.getLogger(__name__)

LOG_STEPS = 20
"""Steps between two log lines."""


@contextmanager
def shown(console: Console) -> Iterator[Callable[[Progress], None]]:
    """What to call after each step: it moves the stage's bar, or writes a log line where there is no terminal.

    A teacher's stage has a bar of its own beside the student's of that name.
    """
    if not console.is_terminal:
        yield log_step
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[rate]:.0f} tokens/s, {task.fields[left]} left"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console) as bars, _log_above():
        tasks: dict[str, TaskID] = {}

        def show(step: Progress) -> None:
            name = _name(step)
            figures: dict[str, Any] = {"loss": step.loss, "rate": step.tokens_per_second, "left": _left(step)}
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=step.steps, **figures)
            bars.update(tasks[name], total=step.steps, completed=step.step, **figures)

        yield show


@contextmanager
def _log_above() -> Iterator[None]:
    """Let log lines for the terminal appear above the bars, which would draw over them: rich stands in for standard
    error while there are bars, and the log has to write to that. A log that goes to a file stays there."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler)
        and not handler.stream.closed
        and handler.stream.isatty()
    ]
    before = [(handler, handler.setStream(sys.stderr)) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in before:
            if stream is not None:
                handler.setStream(stream)


def log_step(step: Progress) -> None:
    """A log line every ``LOG_STEPS`` steps, and of a stage's last."""
    if step.step % LOG_STEPS == 0 or step.step == step.steps:
        log.info(
            "%s: step %d of %d, loss %.3f, %.0f tokens/s, %s left",
            *(_name(step), step.step, step.steps, step.loss, step.tokens_per_second, _left(step)),
        )


def _name(step: Progress) -> str:
    return f"{step.part}, {step.stage}" if step.part else step.stage


def _left(step: Progress) -> str:
    return str(timedelta(seconds=round(step.seconds_left)))
