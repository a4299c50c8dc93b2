"""The relevance model as its users see it: a query and products in, judgments out.

Puts bundle, prompt, engine and calibration together; knows no HTTP, no Ray and no OpenSearch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from csrm.calibration import expected_gain
from csrm.errors import InputError, MissingExtraError
from csrm.prompt import GRADES
from csrm.scoring.cache import GradeCache
from csrm.wire import GradeProbabilities, Judgment


class RelevanceModel:
    """Judges products for a query. Thread-safe; one judgment runs at a time and uses the threads it was given."""

    def __init__(self, bundle: Bundle, loaded: Any, *, cache_mb: int = 0) -> None:
        self.bundle = bundle
        self.cache = GradeCache(cache_mb * 2**20)
        self.name = bundle.name
        self.engine_name: str = loaded.engine.name
        self.precision: str = loaded.precision
        self.warning: str | None = loaded.warning
        self._engine = loaded.engine
        self._encoder = loaded.encoder
        self._columns = [GRADES.index(grade) for grade in loaded.encoder.label_grades]
        self._gains = [bundle.manifest.gains[grade] for grade in ("E", "S", "C", "I")]
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        bundle: str | Path = DEFAULT_BUNDLE,
        *,
        base: str | Path | None = None,
        precision: str = "auto",
        threads: int | None = None,
        cache_mb: int = 0,
    ) -> RelevanceModel:
        """Load a bundle and its base weights.

        Args:
            bundle: ``default``, the name of a shipped bundle, or a folder.
            base: other base weights than the bundle names: a folder or a hub id of the same model.
            precision: ``auto`` (measured at start), ``fp32`` or ``bf16``.
            threads: CPU threads of a judgment; torch's own choice where null.
            cache_mb: megabytes for grades of products that were judged before; 0 judges everything anew.

        Raises:
            BundleError: the bundle is missing, wrong, or made for another base.
            BaseModelError: the base weights cannot be had or read.
            MissingExtraError: the ``serve`` extra is not installed.
            InputError: an unknown precision.
        """
        found = load_bundle(bundle)
        if precision not in ("auto", "fp32", "bf16"):
            raise InputError(f"Unknown precision {precision}: choose auto, fp32 or bf16.")
        try:
            import torch

            from csrm.scoring.load import load_engine
        except ImportError as error:
            raise MissingExtraError(error.name or "torch", "serve") from error
        if threads is not None:
            torch.set_num_threads(threads)
        manifest = found.manifest
        loaded = load_engine(
            base or manifest.base,
            found.adapter_path,
            manifest.prompt,
            manifest.limits,
            precision=precision,  # type: ignore[arg-type]
        )
        return cls(found, loaded, cache_mb=cache_mb)

    def threshold(self, locale: str | None) -> float:
        """Irrelevance above which a product of this locale is removed."""
        return self.bundle.threshold(locale)

    def grade(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        deadline: float | None = None,
        timings: dict[str, float] | None = None,
    ) -> NDArray[np.float32]:
        """Probabilities (n, 4) of the grades E, S, C, I; arguments as in ``judge``."""
        if not query.strip():
            raise InputError("query: empty")
        for index, product in enumerate(products):
            if not product.strip():
                raise InputError(f"products[{index}]: empty")
        started = time.perf_counter()
        probabilities = np.zeros((len(products), len(GRADES)), dtype=np.float32)
        unknown, keys = self.cache.find([query, locale, *knowledge], products, probabilities)
        looked_up = time.perf_counter()
        if timings is not None:
            timings["cache"] = (looked_up - started) * 1e3
        if not unknown:
            return probabilities
        prefix = self._encoder.prefix(query, locale=locale, knowledge=knowledge)
        encoded = self._encoder.products([products[place] for place in unknown])
        if timings is not None:
            timings["tokenise"] = (time.perf_counter() - looked_up) * 1e3
        with self._lock:
            logits = self._engine.label_logits(prefix, encoded, deadline=deadline, timings=timings)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        fresh = np.zeros((len(unknown), len(GRADES)), dtype=np.float32)
        fresh[:, self._columns] = powers / powers.sum(axis=1, keepdims=True)
        probabilities[unknown] = fresh
        self.cache.keep(keys, fresh)
        return probabilities

    def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        threshold: float | None = None,
        deadline: float | None = None,
        timings: dict[str, float] | None = None,
    ) -> list[Judgment]:
        """One judgment for each product, in their order.

        Args:
            query: what the shopper typed.
            products: text of each product.
            locale: language of the shop; picks the threshold and stands in the prompt.
            knowledge: lines about the query, best first.
            threshold: irrelevance above which a product is removed; the bundle's own where null.
            deadline: ``time.monotonic()`` seconds after which the answer is worthless.
            timings: filled with milliseconds of ``cache``, ``tokenise``, ``prefix`` and ``products``; of the first
                alone where every product was judged before.

        Raises:
            InputError: a blank query or product; the message names it.
            DeadlineExceededError: the deadline passed.
        """
        grades = self.grade(
            query, products, locale=locale, knowledge=knowledge, deadline=deadline, timings=timings
        )
        limit = self.threshold(locale) if threshold is None else threshold
        scores = expected_gain(grades, self._gains)
        irrelevance = self.irrelevance(grades)
        return [
            Judgment(
                index=index,
                grades=GradeProbabilities(**dict(zip(GRADES, map(float, row), strict=True))),
                score=float(min(1.0, scores[index])),
                irrelevance=float(irrelevance[index]),
                decision="remove" if irrelevance[index] > limit else "keep",
            )
            for index, row in enumerate(grades)
        ]

    def irrelevance(self, grades: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated P(C or I) (n,) of grade probabilities (n, 4)."""
        return self.bundle.manifest.calibration.apply(grades[:, 2:].sum(axis=1, dtype=np.float64))
