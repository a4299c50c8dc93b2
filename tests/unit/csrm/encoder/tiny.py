"""A tiny encoder in the form of the embedding engine's file, and changes that were drawn and not trained."""

from __future__ import annotations

import string
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csrm.encoder.bert import LINEAR, base_of, changes_of
from csrm.encoder.e5 import PLACES, E5File

HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 2, 64, 512


def tiny_e5(path: Path) -> E5File:
    """Write it, and read it."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *string.printable.strip(), "<mask>"]
    chance = np.random.default_rng(5)
    blocks = [("emb.word", len(pieces) * HIDDEN)]
    wholes = [
        ("emb.pos", POSITIONS * HIDDEN),
        ("emb.type", HIDDEN),
        ("emb.ln.w", HIDDEN),
        ("emb.ln.b", HIDDEN),
    ]
    for layer in range(LAYERS):
        for place, short in PLACES.items():
            outputs = INNER if place == "intermediate.dense" else HIDDEN
            inputs = INNER if place == "output.dense" else HIDDEN
            wholes.append((f"l{layer}.{short}.b", outputs))
            if place in LINEAR:
                blocks.append((f"l{layer}.{short}.w", outputs * inputs))
            else:
                wholes.append((f"l{layer}.{short}.w", outputs))
    contents: list[tuple[str, int, bytes]] = []
    for name, size in blocks:
        packed = np.zeros(size // 32, [("scale", "<f2"), ("pairs", "u1", 16)])
        packed["scale"] = 0.05
        packed["pairs"] = chance.integers(0, 256, (size // 32, 16))
        contents.append((name, 2, packed.tobytes()))
    for name, size in wholes:
        is_norm = name.endswith("ln.w")
        values = np.ones(size) if is_norm else chance.normal(0, 0.02, size)
        contents.append((name, 0, values.astype("<f4").tobytes()))

    text = "".join(pieces).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]).astype("<u4")
    scores = np.full(len(pieces), -5, "<f4")
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", HIDDEN, LAYERS, HEADS, INNER, len(pieces), POSITIONS, 1)
    head += struct.pack("<f", 1e-12) + bytes(4)
    head += struct.pack("<5i", len(pieces), 0, 2, 1, 3) + struct.pack("<Q", len(text))
    head += ends.tobytes() + scores.tobytes() + text + bytes(4) + struct.pack("<I", 0)
    directory = sum(2 + len(name.encode()) + 21 for name, _, _ in contents)
    at = len(head) + 4 + directory
    head += struct.pack("<i", len(contents))
    for name, kind, content in contents:
        head += struct.pack("<H", len(name.encode())) + name.encode()
        head += struct.pack("<BIQQ", kind, 0, at, len(content))
        at += len(content)
    path.write_bytes(head + b"".join(content for _, _, content in contents))
    return E5File(path)


RANK = 2


def drawn_changes(file: E5File, seed: int = 11) -> dict[str, Tensor]:
    """Changes that keep the encoder's sense and give grades that are apart."""
    generator = torch.Generator().manual_seed(seed)
    base = base_of(file)
    found = {
        name: base[name].clone() if name in base else torch.randn(size, generator=generator) * 0.02
        for name, size in changes_of(file.shape, RANK).items()
    }
    found["dense.weight"] = found["dense.weight"] * 20
    found["grades.weight"] = found["grades.weight"] * 20
    return found
