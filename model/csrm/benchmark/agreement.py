"""Whether two scorers order products alike: Kendall's tau, and the score of each that is to be compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def kendall(a: Sequence[float] | Scores, b: Sequence[float] | Scores) -> float:
    """Kendall's tau-b of two scorings of the same products: 1 for the same order, -1 for the reverse.

    Ties count against neither where both have them (Kendall 1945). Two constant scorings agree; a constant one
    agrees with nothing else.
    """
    first, second = (np.sign(np.subtract.outer(x, x)) for x in (np.asarray(a), np.asarray(b)))
    free_a, free_b = np.count_nonzero(first), np.count_nonzero(second)
    if not free_a or not free_b:
        return float(free_a == free_b)
    return float((first * second).sum() / np.sqrt(free_a * free_b))


def gain(logits: Scores, gains: Sequence[float]) -> Scores:
    """Expected gain of the grades, from the logits (n, answers) of the answers."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray((powers / powers.sum(axis=1, keepdims=True)) @ np.asarray(gains, dtype=np.float64))


def odds(logits: Scores) -> Scores:
    """Log-odds of the best answer against the worst: how rerankers with two answers score."""
    return np.asarray(logits[:, 0] - logits[:, -1])


def best_answer(logits: Scores) -> Scores:
    """The logit of the best answer alone."""
    return np.asarray(logits[:, 0])


def readings(gains: Sequence[float]) -> Mapping[str, Callable[[Scores], Scores]]:
    """By name, what scorers make of the logits of the answers, best answer first."""
    return {"gain": lambda logits: gain(logits, gains), "odds": odds, "best": best_answer}
