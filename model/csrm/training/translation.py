"""The translation task: parallel shop text both ways, the loss on the answer alone.

Cross-lingual transfer activated by machine translation in the training mix (CSRM-LLM, arXiv 2509.01566). Knows
parallel text, tokens and the loss; knows no loop.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from csrm.errors import InputError
from csrm.training.recipe import TranslationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_TOKENS = 96
"""Of either side; what is longer is left out, a translation cut short would teach to stop early."""


@dataclass(frozen=True, slots=True)
class Line:
    """One text in two languages."""

    source_locale: str
    source: str
    target_locale: str
    target: str


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of the question and its answer; the last ``answer`` of them are the answer's."""

    ids: list[int]
    answer: int


def read_lines(path: Path, settings: TranslationSettings) -> list[Line]:
    """Parallel lines of a file, every language both ways.

    Three layouts are told apart by what they hold: objects with a text for each locale
    (``{"en": ..., "ko": ...}``), rewritten pairs (``{"query", "title", "query_en", "title_en", "locale"}``), and a
    CSV taxonomy with one column a locale.

    Raises:
        InputError: the file is missing or holds none of these; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"The file of parallel text {path} does not exist.")
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    table = path.name.removesuffix(".gz").endswith(".csv")
    pairs = _table(text, settings) if table else _objects(path, text, settings)
    lines = list(dict.fromkeys(pairs))
    if not lines:
        raise InputError(
            f"{path} holds no text in {settings.source} and one of {', '.join(settings.locales)}."
        )
    return [both for line in lines for both in (line, _turned(line))]


def _objects(path: Path, text: str, settings: TranslationSettings) -> Iterator[Line]:
    for number, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error.msg}).") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not an object.")
        if row.get("locale") in settings.locales:
            for field in ("query", "title"):
                yield from _line(settings.source, row.get(f"{field}_en"), row["locale"], row.get(field))
        for locale in settings.locales:
            yield from _line(settings.source, row.get(settings.source), locale, row.get(locale))


def _table(text: str, settings: TranslationSettings) -> Iterator[Line]:
    rows = csv.DictReader(io.StringIO(text))
    columns = {str(name).split("-")[0]: name for name in rows.fieldnames or ()}
    for row in rows:
        for locale in settings.locales:
            if locale in ("zh-TW", "zh-HK"):  # the table's Chinese is that of the mainland
                continue
            yield from _line(
                settings.source,
                _leaf(row.get(columns.get(settings.source, ""))),
                locale,
                _leaf(row.get(columns.get(locale, ""))),
            )


def _leaf(path: str | None) -> str | None:
    """The last two steps of a category path: what a shopper would call it."""
    return " > ".join(path.split(" > ")[-2:]) if path else None


def _line(source_locale: str, source: object, target_locale: str, target: object) -> Iterator[Line]:
    if isinstance(source, str) and isinstance(target, str) and source.strip() and target.strip():
        yield Line(source_locale, " ".join(source.split()), target_locale, " ".join(target.split()))


def _turned(line: Line) -> Line:
    return Line(line.target_locale, line.target, line.source_locale, line.source)


def encode(lines: Sequence[Line], tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """Lines as questions with their answers; texts are plain text, whatever they say."""
    examples: list[Example] = []
    if not lines:
        return examples
    asked = tokenizer(
        [f" {line.source}" for line in lines], add_special_tokens=False, split_special_tokens=True
    )["input_ids"]
    answers = tokenizer(
        [f" {line.target}\n" for line in lines], add_special_tokens=False, split_special_tokens=True
    )["input_ids"]
    heads: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    for line, question, answer in zip(lines, asked, answers, strict=True):
        if max(len(question), len(answer)) > MOST_TOKENS:
            continue
        key = line.source_locale, line.target_locale
        if key not in heads:
            heads[key] = (
                list(tokenizer(f"Translate.\nText ({key[0]}):", add_special_tokens=False)["input_ids"]),
                list(tokenizer(f"\nText ({key[1]}):", add_special_tokens=False)["input_ids"]),
            )
        before, between = heads[key]
        examples.append(Example([*start, *before, *question, *between, *answer], len(answer)))
    return examples


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (n, t) padded on the right, index of each row's last token (n,), and what each position should say
    next (n, t), -1 where it does not matter."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    last = torch.tensor([len(example.ids) - 1 for example in examples])
    following = torch.full((len(examples), longest), -1)
    for i, example in enumerate(examples):
        end = len(example.ids)
        ids[i, :end] = torch.tensor(example.ids)
        following[i, end - 1 - example.answer : end - 1] = ids[i, end - example.answer : end]
    return ids, last, following


def vocabulary(examples: Sequence[Example]) -> list[int]:
    """The tokens that answers hold: the softmax runs over these alone, a tenth of the whole vocabulary's work."""
    return sorted({token for example in examples for token in example.ids[-example.answer :]})
