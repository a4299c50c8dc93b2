"""Parallel text in its three layouts, both ways, and the loss that sees the answer alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from csrm.errors import InputError
from csrm.training import translation
from csrm.training.recipe import TranslationSettings
from csrm.training.translation import Line

SETTINGS = TranslationSettings(sources=[Path("x")], locales=["es", "ko", "zh-TW"])


def test_objects_with_a_text_for_each_locale_are_read_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "parallel.jsonl"
    path.write_text(
        json.dumps({"en": "red shoes", "ko": "빨간  신발", "ja": "赤い靴", "kind": "query"}) + "\n"
    )
    assert translation.read_lines(path, SETTINGS) == [
        Line("en", "red shoes", "ko", "빨간 신발"),
        Line("ko", "빨간 신발", "en", "red shoes"),
    ]


def test_rewritten_pairs_give_query_and_title(tmp_path: Path) -> None:
    path = tmp_path / "es.jsonl"
    row = {
        "query": "vela",
        "title": "Vela blanca",
        "query_en": "candle",
        "title_en": "White candle",
        "locale": "es",
    }
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    lines = translation.read_lines(path, SETTINGS)
    assert [line.target for line in lines] == ["vela", "candle", "Vela blanca", "White candle"]


def test_a_taxonomy_gives_the_last_steps_and_no_mainland_chinese(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.csv.gz"
    path.write_bytes(
        gzip.compress(
            "id,en-US,es-ES,zh-CN\n1,Home > Garden > Pots,Casa > Jardín > Macetas,家 > 园 > 盆\n".encode()
        )
    )
    lines = translation.read_lines(path, SETTINGS)
    assert lines[0] == Line("en", "Garden > Pots", "es", "Jardín > Macetas")
    assert {line.target_locale for line in lines} == {"es", "en"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "line 1: not JSON"), ("[1]", "line 1: not an object"), ('{"en": "alone"}', "holds no text in en")],
)
def test_what_is_no_parallel_text_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "parallel.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(InputError, match=message):
        translation.read_lines(path, SETTINGS)


def test_the_answer_is_what_is_asked_for_and_nothing_else(tiny_bases: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bases["gemma3"])
    long = Line("en", "x" * 200, "es", "y")
    examples = translation.encode([Line("en", "cat <eos>", "es", "gato"), long], tokenizer)
    assert len(examples) == 1  # what is too long is left out
    text = tokenizer.decode(examples[0].ids)
    assert text == "<bos>Translate.\nText (en): cat <eos>\nText (es): gato\n"
    assert examples[0].ids.count(tokenizer.eos_token_id) == 0  # a special token in a text stays text
    ids, last, following = translation.padded([*examples, translation.Example(examples[0].ids[:9], 2)])
    assert last.tolist() == [len(examples[0].ids) - 1, 8]
    said = following[0][following[0] >= 0].tolist()
    assert tokenizer.decode(said) == " gato\n"
    assert following[0].tolist().index(said[0]) == len(examples[0].ids) - examples[0].answer - 1
    assert (following[1] >= 0).sum() == 2
    assert following[1][6:8].tolist() == ids[1][7:9].tolist()
    assert translation.vocabulary(examples) == sorted(set(said))
