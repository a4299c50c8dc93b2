"""A sequence classifier of pairs (BGE, Jina, MiniLM rerankers and the like) as a scorer. Knows no labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from csrm.errors import BaseModelError, BundleError, InputError, MissingExtraError
from csrm.evaluation.scores import Scores

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

_AT_ONCE = 64


def is_cross_encoder(what: str) -> bool:
    """Whether a folder's or hub id's configuration names a sequence classifier.

    Raises:
        BaseModelError: there is no configuration to be had.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(what)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{what}: its configuration cannot be read ({error}).") from error
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def load_cross_encoder(
    what: str, precision: str
) -> Callable[[Sequence[LabelledPair], Callable[[int], None]], Scores]:
    """A cross-encoder's one number of (query, title), through its own activation.

    Args:
        what: folder or hub id.
        precision: ``fp32`` or ``bf16``; ``auto`` is fp32.

    Raises:
        InputError: it runs in no such precision.
        BundleError: it has more than one number, or none.
        MissingExtraError: sentence-transformers is not installed.
    """
    dtypes = {"auto": "float32", "fp32": "float32", "bf16": "bfloat16"}
    if precision not in dtypes:
        raise InputError(f"precision: a cross-encoder runs in fp32 or bf16, not {precision}.")
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(error.name or "sentence_transformers", "serve") from error
    model: Any = CrossEncoder(what, model_kwargs={"dtype": dtypes[precision]})
    if model.num_labels != 1:
        raise BundleError(f"{what} gives {model.num_labels} numbers for a pair: a reranker has one.")

    def score(rows: Sequence[LabelledPair], on_scored: Callable[[int], None]) -> Scores:
        found = np.empty(len(rows))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].query) + len(rows[i].title))
        for begin in range(0, len(rows), _AT_ONCE):
            part = order[begin : begin + _AT_ONCE]
            pairs = [(rows[i].query, rows[i].title) for i in part]
            found[part] = model.predict(pairs, batch_size=_AT_ONCE, show_progress_bar=False)
            on_scored(len(part))
        return Scores.of_similarity(found)

    return score
