"""The real encoder, with changes that were drawn and not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from csrm.encoder.e5 import E5File, installed
from csrm.training.encoder_trainer import save_changes
from tests.unit.csrm.encoder.tiny import drawn_changes


@pytest.fixture(scope="session")
def e5() -> E5File:
    return installed()


@pytest.fixture(scope="session")
def changes(e5: E5File) -> dict[str, Tensor]:
    return drawn_changes(e5)


@pytest.fixture(scope="session")
def encoder_file(e5: E5File, changes: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_changes(changes, file, 0.5)
    return file
