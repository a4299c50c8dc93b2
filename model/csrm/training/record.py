"""What a run shows and leaves to look at: each step, a log line a checkpoint, TensorBoard files, curves as a picture.

Knows numbers and files; knows no model.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from csrm.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Progress:
    """One optimiser step, for a display: where the run stands and how fast it goes."""

    stage: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    """Of this stage alone."""
    part: str = ""
    """Which teacher of which round it is; empty of the student."""


@contextmanager
def writing(place: Path, *, resumes: bool = True) -> Iterator[None]:
    """Say of whatever cannot be written what that means for the command.

    Args:
        place: folder or file that is written.
        resumes: whether the command goes on where it was, as a training does.

    Raises:
        TrainingError: the disk is full, or the folder may not be written to.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        after = "; it goes on from the last checkpoint" if resumes else ""
        raise TrainingError(
            f"{place} cannot be written to ({why}): make room there and start the same command again{after}."
        ) from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file of tensors; the one that stood there stays until the new one is whole."""
    partial = path.with_name(f"{path.name}.part")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Write where a training stands, wholly or not at all: what stood there stays until then."""
    content = io.BytesIO()  # torch says of a full disk only that something is wrong inside it
    torch.save(dict(state), content)
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_bytes(content.getbuffer())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Record:
    """The figures of one run, appended to ``log.jsonl`` and to TensorBoard files in ``tensorboard/``.

    Args:
        run: folder of the run, or of a teacher in it.
    """

    def __init__(self, run: Path) -> None:
        from tensorboardX import SummaryWriter

        run.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._board = SummaryWriter(str(run / "tensorboard"))

    def write(self, stage: str, step: int, figures: dict[str, float]) -> None:
        """Figures of a stage after a step."""
        line: dict[str, Any] = {"stage": stage, "step": step} | {
            name: round(value, 5) for name, value in figures.items()
        }
        with (self._run / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        """Write out what is still in memory."""
        self._board.close()


def plot(run: Path) -> None:
    """Draw ``curves.png`` from the log of a run: loss and dev ROC-AUC by step, one panel each, one line a stage."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    panels = [name for name in ("loss", "dev_auc_es") if any(name in line for line in lines)]
    figure = Figure(figsize=(5.5 * len(panels), 3.5), layout="constrained")
    for place, name in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for stage in dict.fromkeys(line["stage"] for line in lines):
            # A resumed run may tell of a step twice: the later word counts.
            points = {line["step"]: line[name] for line in lines if line["stage"] == stage and name in line}
            axes.plot(sorted(points), [points[step] for step in sorted(points)], marker=".", label=stage)
        axes.set_xlabel("step")
        axes.set_ylabel({"loss": "loss", "dev_auc_es": "dev ROC-AUC of E+S against C+I"}[name])
        axes.legend()
    figure.savefig(run / "curves.png", dpi=120)
