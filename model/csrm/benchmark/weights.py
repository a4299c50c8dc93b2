"""The weights that every scorer runs: those of a bundle, or random ones of a given shape, which need no download.

A folder as transformers reads it stands for them, adapter merged, so that other packages load the very same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from csrm.benchmark.workload import MOST_PRODUCTS, searches
from csrm.bundle import MANIFEST_FILE, Bundle, Manifest, load_bundle
from csrm.errors import InputError
from csrm.prompt import GRADES, PromptEncoder, PromptTemplate
from csrm.scoring.adapter import merge
from csrm.scoring.base import prepare_base

SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {
    "qwen3-0.6b": lambda: Qwen3Config(
        vocab_size=151_936,
        hidden_size=1_024,
        intermediate_size=3_072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    ),
    "gemma3-270m": lambda: Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=640,
        intermediate_size=2_048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
    ),
    "tiny": lambda: Qwen3Config(
        vocab_size=8_192,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
    ),
}
"""Published models' shapes, and one for trying the benchmark itself."""

_WORDS = 8_000


@dataclass(frozen=True, slots=True)
class Weights:
    """A bundle for our engine, and the same weights as a folder for everybody else's."""

    bundle: Bundle
    folder: Path

    @property
    def template(self) -> PromptTemplate:
        return self.bundle.manifest.prompt

    @property
    def gains(self) -> list[float]:
        """Of the answers, in the order of `answers`."""
        return [self.bundle.manifest.gains[self.template.labels[answer]] for answer in self.answers]

    @property
    def answers(self) -> list[str]:
        """The answers of the prompt, the best grade first."""
        return sorted(self.template.labels, key=lambda answer: GRADES.index(self.template.labels[answer]))

    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.folder)

    def encoder(self) -> PromptEncoder:
        return PromptEncoder(self.tokenizer(), self.template, self.bundle.manifest.limits)

    def answer_ids(self) -> list[int]:
        """Token ids of `answers`."""
        encoder = self.encoder()
        by_answer = dict(zip(self.template.labels, encoder.label_ids, strict=True))
        return [by_answer[answer] for answer in self.answers]


def of_bundle(name: str, folder: Path) -> Weights:
    """The weights of a bundle, its adapter merged, saved into ``folder``.

    Raises:
        BundleError, BaseModelError: there is no such bundle, or no such base.
    """
    bundle = load_bundle(name)
    base = prepare_base(bundle.manifest.base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if bundle.adapter_path is not None:
        merge(model, bundle.adapter_path, base)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return Weights(bundle, folder)


def of_shape(shape: str, folder: Path) -> Weights:
    """Random weights of one of `SHAPES`, with a tokenizer trained on the titles, saved into ``folder``.

    Raises:
        InputError: there is no such shape.
    """
    if shape not in SHAPES:
        raise InputError(f"Unknown shape {shape}: choose one of {', '.join(SHAPES)}.")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape]())  # type: ignore[no-untyped-call]
    model.to(torch.bfloat16).save_pretrained(folder)
    shop_tokenizer(list(PromptTemplate().labels)).save_pretrained(folder)
    manifest = Manifest(name=shape, version=1, base=str(folder))
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(), encoding="utf-8")
    return Weights(load_bundle(folder), folder)


def shop_tokenizer(answers: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the titles, about as many tokens a title as large models' own; each answer is one token."""
    tokenizer = Tokenizer(BPE(unk_token=None))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    titles = (
        title
        for _, search in zip(range(2), searches(MOST_PRODUCTS), strict=False)
        for title in search.products
    )
    trainer = BpeTrainer(
        vocab_size=_WORDS,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(titles, trainer)
    tokenizer.add_tokens([AddedToken(answer, normalized=False) for answer in answers])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
