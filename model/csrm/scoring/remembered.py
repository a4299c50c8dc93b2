"""What the library's model answered on the rows of the check, kept between starts.

A lean pass is compared with the library's model when it is loaded. What that said of the same weights, adapter and
prompt, by the same versions, it says again: a later start reads it from the user's cache folder, and needs neither the
model nor its code. Whatever is not there, or not as it was written, is computed anew.

Knows files and digests; knows no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from csrm.scoring.base import cache_folder
from csrm.scoring.engine import Logits

log = logging.getLogger(__name__)


def key_of(
    base_digest: str, adapter: Path | None, rows: Sequence[Sequence[int]], answers: Sequence[int]
) -> str:
    """What the answers hang on, in hexadecimal digits.

    Args:
        base_digest: of the base's files.
        adapter: folder of the adapter, if any.
        rows: token ids that are answered.
        answers: token id of each answer.

    Raises:
        OSError: the adapter cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    found.update(json.dumps([base_digest, [list(row) for row in rows], list(answers)]).encode())
    found.update(f"{version('torch')} {version('transformers')}".encode())
    for file in sorted(adapter.iterdir()) if adapter is not None else []:
        if file.is_file():
            content = file.read_bytes()
            found.update(f"{file.name} {len(content)} ".encode() + content)
    return found.hexdigest()


def recall(key: str, shape: tuple[int, int]) -> Logits | None:
    """Probabilities of the answers, (rows, answers); null where none of this shape are kept."""
    try:
        found = np.array(json.loads(_file(key).read_text(encoding="utf-8")), dtype=np.float32)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.shape == shape and bool(np.isfinite(found).all()) else None


def keep(key: str, probabilities: Logits) -> None:
    """Keep them for later starts, if the cache folder can be written."""
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                json.dump(probabilities.tolist(), opened)
            Path(name).replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        log.info("The next start compares with the library's model again: %s", error)


def _file(key: str) -> Path:
    return cache_folder() / "checks" / f"{key}.json"
