"""The vectors nearest to a query's, in a store too large to compare with every one: an HNSW graph in a file.

The graph (usearch) lies beside the snapshot's vectors and is read where it lies, memory-mapped. It is made for one
file of vectors and knows its hash; whether it finds what an exact search finds is measured when it is made. Malkov
and Yashunin 2016, arXiv:1603.09320. Knows vectors and files; knows no entries.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from usearch.index import Index

from csrm.errors import KnowledgeError
from csrm.knowledge.embedders import Vectors

LEAST_RECALL = 0.95
"""Of the `_NEIGHBOURS` nearest vectors, the share that a graph must find, on average over `_PROBES` of its own."""
_NEIGHBOURS = 10
_PROBES = 200
_EXPANSIONS = (128, 256, 512)
"""How wide a graph is searched, when it is made and when it is asked; the next one where recall is too low."""
_BLOCK = 50_000

GRAPH, CARD = "nearest.usearch", "nearest.json"

Rows = npt.NDArray[np.int64]
Stored = npt.NDArray[np.float16]

log = logging.getLogger(__name__)


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True)

    vectors_sha256: str
    graph_sha256: str
    expansion: int
    recall: float


class Nearest:
    """A graph over vectors of length one. Never changes after it is made, so threads may share it."""

    def __init__(self, graph: Index, recall: float) -> None:
        self._graph = graph
        self.recall = recall
        """Measured when the graph was made: share of the nearest ten that it finds."""

    @classmethod
    def write(cls, folder: Path, vectors: Stored, vectors_sha256: str) -> None:
        """Make a graph of the vectors, shape (texts, dimension), and put it into the folder.

        Raises:
            KnowledgeError: it does not find what an exact search finds.
            OSError: the folder cannot be written.
        """
        for expansion in _EXPANSIONS:
            graph = Index(
                ndim=vectors.shape[1],
                metric="ip",
                dtype="f16",
                expansion_add=expansion,
                expansion_search=expansion,
            )
            graph.add(np.arange(len(vectors), dtype=np.uint64), vectors)
            recall = _recall(graph, vectors)
            log.info(
                "A graph of %d vectors, searched %d wide, has recall %.3f.", len(vectors), expansion, recall
            )
            if recall >= LEAST_RECALL:
                break
        else:
            raise KnowledgeError(
                f"The graph of the {len(vectors)} vectors finds {recall:.2f} of the nearest ones and not"
                f" {LEAST_RECALL}: are most of the entries the same?"
            )
        graph.save(str(folder / GRAPH))
        card = _Card(
            vectors_sha256=vectors_sha256,
            graph_sha256=_sha256(folder / GRAPH),
            expansion=expansion,
            recall=recall,
        )
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path, vectors_sha256: str) -> Nearest:
        """The graph in the folder.

        Raises:
            KnowledgeError: there is none, it is damaged, or it was made of other vectors.
        """
        try:
            card = _Card.model_validate_json((folder / CARD).read_bytes())
            found = _sha256(folder / GRAPH)
        except OSError as error:
            raise KnowledgeError(f"{error.filename} is not there ({error.strerror})") from error
        except ValidationError as error:
            raise KnowledgeError(f"{folder / CARD} is not what was written") from error
        if card.vectors_sha256 != vectors_sha256:
            raise KnowledgeError(f"{folder / GRAPH} was made of other vectors")
        if (
            card.graph_sha256 != found
        ):  # usearch maps what it is given: a truncated file would end the process
            raise KnowledgeError(f"{folder / GRAPH} is not the file that was written")
        graph = Index.restore(str(folder / GRAPH), view=True, expansion_search=card.expansion)
        return cls(cast(Index, graph), card.recall)

    def find(self, vector: Vectors, count: int) -> Rows:
        """Rows of about the ``count`` nearest vectors, nearest first; ``vector`` has shape (dimension,)."""
        found = self._graph.search(vector, count, threads=1)
        return np.asarray(found.keys, dtype=np.int64)


def _recall(graph: Index, vectors: Stored) -> float:
    probes = np.linspace(0, len(vectors) - 1, min(_PROBES, len(vectors)), dtype=np.int64)
    asked = vectors[probes].astype(np.float32)
    cosines = np.concatenate(
        [
            asked @ vectors[begin : begin + _BLOCK].astype(np.float32).T
            for begin in range(0, len(vectors), _BLOCK)
        ],
        axis=1,
    )
    count = min(_NEIGHBOURS, len(vectors))
    least = -np.partition(-cosines, count - 1, axis=1)[:, count - 1]  # of the last one that belongs to them
    found = [graph.search(vector, count, threads=1).keys.astype(np.int64) for vector in asked]
    hits = [
        np.count_nonzero(cosines[row, keys] >= least[row] - 1e-3)  # as good as: half precision rounds
        for row, keys in enumerate(found)
    ]
    return round(sum(hits) / (count * len(probes)), 4)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
