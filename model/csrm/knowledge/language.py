"""Takes the language out of embedding vectors, so that a meaning is close to itself in every language.

Multilingual embeddings carry, beside the meaning, which language a text is in: with multilingual-e5-small
two unrelated Korean queries are often closer than a Korean query and its English translation. The remedy is
linear: subtract the mean of all texts and project out the directions in which the languages' means differ
(Yang et al. 2021, "A Simple and Effective Method To Eliminate the Self Language Bias in Multilingual
Representations", arXiv:2109.04727). The means come from the probe phrases beside this file, the same in every
language, so that neither the size nor the language mix of a knowledge store plays a part. Afterwards
unrelated texts have a cosine near 0, whatever the engine, and one relevance floor can hold for all languages.

Knows an embedding engine, no entries and no search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import cast

import numpy as np

from csrm.knowledge.embedders import Embedder, Vectors

PROBES: dict[str, list[str]] = json.loads(
    files("csrm.knowledge").joinpath("language_probes.json").read_text(encoding="utf-8")
)
"""Everyday product phrases in eight languages, one meaning a column: there to be averaged, not found."""


@dataclass(frozen=True, slots=True)
class LanguageRemoval:
    """An affine map of vectors, made by `fit_queries` or `fit_passages`: the two sides are embedded apart."""

    mean: Vectors
    """Shape (dimension,)."""
    directions: Vectors
    """Orthonormal rows, shape (languages - 1, dimension)."""

    def __call__(self, vectors: Vectors) -> Vectors:
        """The vectors without their language, of length one; shape as given, (n, dimension)."""
        centred = vectors - self.mean
        centred -= (centred @ self.directions.T) @ self.directions
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return cast(Vectors, (centred / np.maximum(lengths, 1e-12)).astype(np.float32))


@lru_cache(maxsize=4)
def fit_queries(embedder: Embedder) -> LanguageRemoval:
    """The map for query vectors of this engine; embeds the 192 probe phrases, once an engine."""
    return _fit(embedder.embed_queries)


@lru_cache(maxsize=4)
def fit_passages(embedder: Embedder) -> LanguageRemoval:
    """The map for passage vectors of this engine; embeds the 192 probe phrases, once an engine."""
    return _fit(embedder.embed_passages)


def _fit(embed: Callable[[Sequence[str]], Vectors]) -> LanguageRemoval:
    language_means = np.stack([embed(phrases).mean(axis=0) for phrases in PROBES.values()])
    mean = language_means.mean(axis=0)
    _, _, directions = np.linalg.svd(language_means - mean, full_matrices=False)
    return LanguageRemoval(mean.astype(np.float32), directions[: len(PROBES) - 1].astype(np.float32))
