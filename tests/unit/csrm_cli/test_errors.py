"""How an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import shutil
import tomllib
from pathlib import Path

import pytest

import csrm.errors
import csrm_opensearch.errors
from csrm_cli.errors import EXTRAS, RUNTIME_ERRORS, explain, keep_traceback

ROOT = Path(__file__).resolve().parents[3]
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "starlette": "ray",
    "fastapi": "ray",
    "tokenizers": "transformers",
}


@pytest.mark.parametrize(
    ("error", "exit_code", "part"),
    [
        (csrm.errors.BundleError("The bundle x does not exist."), 2, "The bundle x"),
        (csrm.errors.BaseModelError("The base weights need 2 GB."), 1, "2 GB"),
        (csrm.errors.MissingExtraError("torch", "serve"), 2, "csrm-opensearch[serve]"),
        (csrm_opensearch.errors.ProfileError("p.yaml: window: too large."), 2, "window"),
        (csrm_opensearch.errors.UnreachableError("No node answers."), 1, "No node"),
        (ModuleNotFoundError("No module named 'ray.serve'", name="ray.serve"), 2, "csrm-opensearch[serve]"),
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), 2, "csrm-opensearch[train]"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "recipe.yaml"), 2, "recipe.yaml"),
        (OSError(errno.EADDRINUSE, "Address already in use"), 2, "--port"),
        (MemoryError(), 1, "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device): make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "out.json"), 1, "out.json cannot be written"),
        (
            shutil.Error([("a", "b/c", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))]),
            1,
            "b/c cannot be written",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_foreseen_error_is_a_sentence(error: Exception, exit_code: int, part: str) -> None:
    failure = explain(error)
    assert failure.exit_code == exit_code
    assert part in failure.sentence
    assert "\n" not in failure.sentence
    assert not failure.unexpected


def test_an_error_derived_from_ours_elsewhere_counts_as_ours() -> None:
    class Special(csrm.errors.InputError):
        pass

    assert explain(Special("The query is empty.")).sentence == "The query is empty."


def test_an_unforeseen_error_is_named_and_its_traceback_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    try:
        {}["colour"]
    except KeyError as error:
        failure = explain(error)
        file = keep_traceback(error)
    assert failure.unexpected
    assert failure.exit_code == 1
    assert "KeyError" in failure.sentence
    assert '{}["colour"]' in file.read_text()


def test_a_foreign_import_error_is_not_blamed_on_an_extra() -> None:
    assert explain(ModuleNotFoundError("No module named 'csrm.nothing'", name="csrm.nothing")).unexpected


def test_every_import_belongs_to_its_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        wanted = " ".join(extras[extra]).replace("_", "-")
        for package in packages:
            assert DISTRIBUTIONS.get(package, package).replace("_", "-") in wanted, f"{package} in {extra}"


def test_every_runtime_error_exists() -> None:
    import csrm_opensearch.testing.errors

    modules = (csrm.errors, csrm_opensearch.errors, csrm_opensearch.testing.errors)
    assert {name for name in RUNTIME_ERRORS if not any(hasattr(module, name) for module in modules)} == set()
