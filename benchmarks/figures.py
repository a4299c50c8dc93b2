"""How a benchmark hands over what it found: as JSON on standard output, and in a file where one is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def publish(figures: Mapping[str, Any], file: Path | None) -> None:
    """Print the figures, and write them to the file, too, where there is one."""
    text = json.dumps(figures, indent=2)
    if file is not None:
        file.write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201
