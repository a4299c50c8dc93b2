"""A knowledge snapshot: entries with their vectors, made once, saved as one folder, never changed.

    entries.jsonl        the entries, in the order of their ids
    vectors.safetensors  a vector (half precision) for each search text, and the language removal for queries
    meta.json            format, knowledge version, embedding engine, check sum of the vectors
    nearest.*            of more than 50,000 entries: a graph to find the nearest vectors by, made anew where it is
                         missing or damaged

The knowledge version is a hash of the entries and the engine: the same knowledge has the same version on
every machine. Knows no search: that is the retriever's.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from csrm.errors import KnowledgeError
from csrm.knowledge.embedders import Embedder, Vectors
from csrm.knowledge.entries import CategoryEntry, QueryEntry, TermEntry
from csrm.knowledge.jsonl import dump_entries, read_entries
from csrm.knowledge.language import LanguageRemoval, fit_passages, fit_queries
from csrm.knowledge.nearest import CARD, GRAPH, Nearest, Stored

FORMAT = 3
"""Raised when a saved snapshot would mean something else, so also when search texts are made otherwise."""

EXACT_ENTRIES = 50_000
"""Of more entries the vectors stay in their file, and a query is compared with those that a graph finds."""
VECTORS = "vectors.safetensors"

log = logging.getLogger(__name__)


class EmbedderId(BaseModel):
    """Which engine made the vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    dimension: int

    @classmethod
    def of(cls, embedder: Embedder) -> EmbedderId:
        return cls(name=embedder.name, version=embedder.version, dimension=embedder.dimension)


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: int
    version: str
    embedder: EmbedderId
    entries: int
    vectors: int
    vectors_sha256: str


@dataclass(frozen=True, slots=True)
class KnowledgeSnapshot:
    """Entries in the order of their ids, and the vectors of their search texts."""

    entries: Sequence[QueryEntry | TermEntry | CategoryEntry]
    vectors: Vectors | Stored
    """Shape (texts, dimension), each of length one and free of its language; grouped by entry. In memory, or of
    more than `EXACT_ENTRIES` entries in the file that they were saved in."""
    starts: npt.NDArray[np.int32]
    """Shape (entries + 1,): the texts of entry i are vectors[starts[i] : starts[i + 1]]; none of a term that must be
    typed."""
    query_removal: LanguageRemoval
    """What a query vector goes through before it is compared with `vectors`."""
    embedder: EmbedderId
    version: str
    """Content hash, twelve hexadecimal digits."""
    nearest: Nearest | None = None
    """Finds the nearest of `vectors`; None where every one can be compared."""

    @classmethod
    def build(
        cls,
        entries: Iterable[QueryEntry | TermEntry | CategoryEntry],
        embedder: Embedder,
        *,
        before: KnowledgeSnapshot | None = None,
    ) -> KnowledgeSnapshot:
        """Embed the entries. No entry at all is allowed: such a store finds nothing.

        Args:
            entries: in any order.
            embedder: makes the vectors.
            before: an earlier snapshot, of which vectors are taken over where engine and text are the same.
                It changes nothing of what is built, only the time.

        Raises:
            KnowledgeError: two entries have the same id.
        """
        ordered = _ordered(entries)
        texts = [entry.search_texts() for entry in ordered]
        distinct = list(dict.fromkeys(text for own in texts for text in own))
        identity = EmbedderId.of(embedder)
        if before is not None and before.embedder != identity:
            before = None
        known = {} if before is None else before._rows_by_text()
        fresh = [text for text in distinct if text not in known]
        vectors = np.empty((0, embedder.dimension), dtype=np.float32)
        if before is not None:
            vectors = before.vectors.astype(np.float32)
        if fresh:
            known |= {text: len(vectors) + number for number, text in enumerate(fresh)}
            made = fit_passages(embedder)(embedder.embed_passages(fresh))
            # Half precision, as it will be after a round to disk.
            vectors = np.concatenate([vectors, made.astype(np.float16).astype(np.float32)])
        rows = np.array([known[text] for own in texts for text in own], dtype=np.int64)
        return cls(
            entries=ordered,
            vectors=vectors[rows],
            starts=_starts(texts),
            query_removal=fit_queries(embedder) if before is None else before.query_removal,
            embedder=identity,
            version=_content_version(ordered, identity),
        )

    def _rows_by_text(self) -> dict[str, int]:
        texts = [text for entry in self.entries for text in entry.search_texts()]
        return {text: row for row, text in enumerate(texts)}

    def save(self, folder: str | Path) -> None:
        """Write the snapshot as a folder, wholly or not at all; one of the same name is replaced.

        Raises:
            KnowledgeError: the folder cannot be written, or the nearest vectors cannot be found reliably.
        """
        target = Path(folder)
        vectors = self.vectors.astype(np.float16)
        tensors = save_tensors(
            {
                "vectors": vectors,
                "starts": self.starts,
                "query_mean": self.query_removal.mean,
                "query_directions": self.query_removal.directions,
            }
        )
        meta = _Meta(
            format=FORMAT,
            version=self.version,
            embedder=self.embedder,
            entries=len(self.entries),
            vectors=len(self.vectors),
            vectors_sha256=hashlib.sha256(tensors).hexdigest(),
        )
        mark = uuid.uuid4().hex[:8]
        fresh = target.with_name(f".{target.name}.{mark}.new")
        old = target.with_name(f".{target.name}.{mark}.old")
        try:
            fresh.mkdir(parents=True)
            (fresh / "entries.jsonl").write_bytes(dump_entries(self.entries))
            (fresh / VECTORS).write_bytes(tensors)
            if len(self.entries) > EXACT_ENTRIES:
                Nearest.write(fresh, vectors, meta.vectors_sha256)
            (fresh / "meta.json").write_bytes(
                orjson.dumps(meta.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            )
            if target.exists():
                target.replace(old)
            fresh.replace(target)
        except OSError as error:
            if old.exists() and not target.exists():
                old.replace(target)
            raise KnowledgeError(
                f"Cannot write the knowledge snapshot {target}: {error.strerror}; check the folder."
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path) -> KnowledgeSnapshot:
        """Read a saved snapshot.

        Raises:
            KnowledgeError: there is none, or it is incomplete, damaged or of another format.
        """
        folder = Path(folder)
        meta = _read_meta(folder)
        path = folder / VECTORS
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _absent(folder, error) from error
        if found != meta.vectors_sha256:
            raise _broken(folder, f"{VECTORS} is not the file that was saved")
        entries = read_entries(folder / "entries.jsonl")
        if _content_version(entries, meta.embedder) != meta.version:
            raise _broken(folder, "entries.jsonl is not the file that was saved")
        large = len(entries) > EXACT_ENTRIES
        try:
            with safe_open(path, framework="numpy") as tensors:
                starts = tensors.get_tensor("starts")
                removal = LanguageRemoval(
                    tensors.get_tensor("query_mean"), tensors.get_tensor("query_directions")
                )
                vectors = _mapped(path) if large else tensors.get_tensor("vectors").astype(np.float32)
        except (SafetensorError, KeyError) as error:
            raise _broken(folder, f"{VECTORS} lacks a part") from error
        dimension = meta.embedder.dimension
        whole = (
            vectors.shape == (meta.vectors, dimension)
            and removal.mean.shape == (dimension,)
            and removal.directions.shape[1:] == (dimension,)
            and np.array_equal(starts, _starts([entry.search_texts() for entry in entries]))
            and int(starts[-1]) == len(vectors)
        )
        if not whole:
            raise _broken(folder, "the vectors do not fit the entries")
        nearest = _graph(folder, vectors, meta.vectors_sha256) if large else None
        return cls(entries, vectors, starts, removal, meta.embedder, meta.version, nearest)

    def require_embedder(self, embedder: Embedder) -> None:
        """Refuse an engine other than the one that made the vectors.

        Raises:
            KnowledgeError: name, version or dimension differ.
        """
        given = EmbedderId.of(embedder)
        if given != self.embedder:
            raise KnowledgeError(
                f"The knowledge snapshot was made by the embedding engine {_say(self.embedder)}, "
                f"but {_say(given)} was given: use that engine or rebuild the snapshot."
            )


def saved_version(folder: str | Path) -> str:
    """The knowledge version of a saved snapshot, without reading its vectors.

    Raises:
        KnowledgeError: there is no snapshot, or one of another format.
    """
    return _read_meta(Path(folder)).version


def version_of(entries: Iterable[QueryEntry | TermEntry | CategoryEntry], embedder: Embedder) -> str:
    """The knowledge version that a snapshot of these entries has, without embedding any.

    Raises:
        KnowledgeError: two entries have the same id.
    """
    return _content_version(_ordered(entries), EmbedderId.of(embedder))


def _ordered(
    entries: Iterable[QueryEntry | TermEntry | CategoryEntry],
) -> list[QueryEntry | TermEntry | CategoryEntry]:
    ordered = sorted(entries, key=lambda entry: entry.id)
    for one, next_one in pairwise(ordered):
        if one.id == next_one.id:
            raise KnowledgeError(f"Two knowledge entries have the id {one.id!r}: give each its own.")
    return ordered


def _read_meta(folder: Path) -> _Meta:
    try:
        meta = _Meta.model_validate_json((folder / "meta.json").read_bytes())
    except OSError as error:
        raise _absent(folder, error) from error
    except ValidationError as error:
        raise _broken(folder, "meta.json is not one of a snapshot") from error
    if meta.format != FORMAT:
        raise KnowledgeError(
            f"The knowledge snapshot {folder} has format {meta.format}, but {FORMAT} is read here: rebuild it."
        )
    return meta


def _mapped(path: Path) -> Stored:
    """The vectors in the file, memory-mapped: a safetensors file is a length, a JSON header, and the tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        told = orjson.loads(file.read(length))["vectors"]
    begin, _ = told["data_offsets"]
    return np.memmap(path, np.float16, "r", offset=8 + length + begin, shape=tuple(told["shape"]))


def _graph(folder: Path, vectors: Stored, vectors_sha256: str) -> Nearest:
    """The saved one, or one that is made now and kept for the next time."""
    try:
        return Nearest.open(folder, vectors_sha256)
    except KnowledgeError as error:
        log.warning("The graph of the vectors is made anew, for %s.", error)
    try:
        with tempfile.TemporaryDirectory(prefix=".nearest-", dir=folder) as made:
            Nearest.write(Path(made), vectors, vectors_sha256)
            for name in (GRAPH, CARD):  # the card last: it vouches for the graph
                (Path(made) / name).replace(folder / name)
    except OSError as error:
        raise KnowledgeError(
            f"The knowledge snapshot {folder} has no usable graph of its vectors, and none can be written there "
            f"({error.strerror}): build it anew with csrm knowledge snapshot."
        ) from error
    return Nearest.open(folder, vectors_sha256)


def _starts(texts: Sequence[Sequence[str]]) -> npt.NDArray[np.int32]:
    return np.cumsum([0, *(len(own) for own in texts)], dtype=np.int32)


def _content_version(entries: Sequence[QueryEntry | TermEntry | CategoryEntry], embedder: EmbedderId) -> str:
    digest = hashlib.sha256(f"{FORMAT} {_say(embedder)}\n".encode())
    digest.update(dump_entries(entries))
    return digest.hexdigest()[:12]


def _say(embedder: EmbedderId) -> str:
    return f"{embedder.name} {embedder.version} ({embedder.dimension} dimensions)"


def _absent(folder: Path, error: OSError) -> KnowledgeError:
    return KnowledgeError(
        f"There is no knowledge snapshot in {folder} ({error.strerror}): build one with csrm knowledge snapshot."
    )


def _broken(folder: Path, what: str) -> KnowledgeError:
    return KnowledgeError(f"The knowledge snapshot {folder} is broken, {what}: rebuild it.")
