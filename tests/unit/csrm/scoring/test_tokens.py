"""The compiled tokenizer of a base: what transformers gives, or left alone where its file does not say everything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from csrm.errors import BaseModelError
from csrm.prompt import CompiledTokenizer, PromptEncoder, PromptLimits, PromptTemplate
from csrm.scoring.base import DEFAULT_BASE, prepare_base
from csrm.scoring.tokens import compiled, load_tokenizer

TEXTS = [
    "red case",
    "  a  b\n",
    "에어팟 프로 2세대",
    "手機殼 <eos> <bos>",
    "مقلاة\u200b 28 cm",
    "🧦 exact irrelevant",
]


@pytest.fixture
def folder(tiny_bases: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bases["gemma3"], tmp_path / "base"))


def settle(folder: Path, **changed: Any) -> None:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not ...}))


@pytest.mark.parametrize("kind", ["gemma3", "shipped"])
def test_it_gives_what_transformers_gives(kind: str, tiny_bases: dict[str, Path]) -> None:
    folder = Path(tiny_bases[kind] if kind in tiny_bases else prepare_base(DEFAULT_BASE))
    found, whole = compiled(folder), AutoTokenizer.from_pretrained(folder)
    assert found is not None
    assert (found.bos_token_id, found.vocab_size) == (whole.bos_token_id, whole.vocab_size)
    ours, theirs = (PromptEncoder(one, PromptTemplate(), PromptLimits()) for one in (found, whole))
    assert ours.label_ids == theirs.label_ids
    assert ours.products(TEXTS) == theirs.products(TEXTS)
    for text in TEXTS:
        assert ours.prefix(text, locale="ko", knowledge=TEXTS) == theirs.prefix(
            text, locale="ko", knowledge=TEXTS
        )


@pytest.mark.parametrize("changed", [{"backend": ...}, {"backend": "sentencepiece"}])
def test_what_an_older_library_wrote_is_read_by_transformers(folder: Path, changed: dict[str, Any]) -> None:
    settle(folder, **changed)
    assert compiled(folder) is None
    assert not isinstance(load_tokenizer(str(folder), "base", 300), CompiledTokenizer)


def test_a_base_without_a_beginning_has_none(folder: Path) -> None:
    settle(folder, bos_token=...)
    found = compiled(folder)
    assert found is not None and found.bos_token_id is None


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_is_named(folder: Path, file: str) -> None:
    (folder / file).write_text("{")
    with pytest.raises(BaseModelError, match="The base mine cannot be loaded"):
        load_tokenizer(str(folder), "mine", 300)


def test_more_tokens_than_rows_are_another_models(folder: Path) -> None:
    with pytest.raises(BaseModelError, match="it is another model's"):
        load_tokenizer(str(folder), "mine", 10)
