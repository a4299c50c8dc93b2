"""The relevance model as its users see it: a query and products in, judgments out.

Puts bundle, prompt, engine and calibration together; knows no HTTP, no Ray and no OpenSearch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from csrm.calibration import expected_gain
from csrm.errors import DeadlineExceededError, InputError, MissingExtraError
from csrm.prompt import GRADES
from csrm.reference import check_reference
from csrm.scoring.cache import GradeCache, Question
from csrm.wire import GradeProbabilities, Judgment, Level, Precision

if TYPE_CHECKING:
    from csrm.encoder.cross_encoder import CrossEncoder
    from csrm.scoring.walk import Steps

Grades = NDArray[np.float32]

TOKENISED_AT_ONCE = 64
"""Products that are tokenised in one step: no longer than a batch, whatever their texts are."""


@dataclass(frozen=True, slots=True)
class Graded:
    """Grade probabilities of products.

    ``grades`` (n, 4) are NaN where a product was not judged in time; ``full`` (n,) says which products went through
    all layers, ``settled`` (n,) which grades are those that the level asks for: where time ran out, a product may
    have those of the first layers only.
    """

    grades: Grades
    full: NDArray[np.bool_]
    settled: NDArray[np.bool_]

    @property
    def scored(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.grades[:, 0])

    def at(self, places: Sequence[int]) -> Graded:
        """The grades of these places, in this order."""
        return Graded(self.grades[places], self.full[places], self.settled[places])


@dataclass(frozen=True, slots=True)
class Judged:
    """Judgments in the order of the products, at which level, and how many were made by all layers."""

    results: list[Judgment]
    level: Level
    threshold: float
    all_layers: int


class RelevanceModel:
    """Judges products for a query. Thread-safe; one batch runs at a time and uses the threads it was given."""

    def __init__(self, bundle: Bundle, loaded: Any, *, cache_mb: int = 0) -> None:
        self.bundle = bundle
        self.cache = GradeCache(cache_mb * 2**20)
        self.name = bundle.name
        self.base: str = loaded.base
        self.base_digest: str = loaded.base_digest
        self.digest = bundle.digest()
        self.engine_name: str = loaded.engine.name
        self.precision: str = loaded.precision
        self.warning: str | None = loaded.warning
        self._engine = loaded.engine
        self._encoder = loaded.encoder
        self._columns = [GRADES.index(grade) for grade in loaded.encoder.label_grades]
        self._gains = [bundle.manifest.gains[grade] for grade in ("E", "S", "C", "I")]
        self._exit = bundle.manifest.exit if loaded.engine.exit_layer is not None else None
        self._weight = bundle.manifest.encoder.weight if bundle.manifest.encoder is not None else 0.0

    @property
    def encoder(self) -> CrossEncoder | None:
        """The cross-encoder beside the language model, where there is one."""
        found: CrossEncoder | None = self._engine.encoder
        return found

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
            precision: ``fp32``, ``bf16``, ``int8``, or ``auto``: the fastest of them here, as measured at the start;
                int8 only for a bundle that was calibrated in it.
            threads: CPU threads of a judgment; torch's own choice where null.
            cache_mb: megabytes for grades of products that were judged before; 0 judges everything anew.

        Raises:
            BundleError: the bundle is missing, wrong, made for another base, or grades its reference rows otherwise
                than when it was written.
            BaseModelError: the base weights cannot be had or read.
            MissingExtraError: the ``serve`` extra is not installed.
            InputError: an unknown precision.
        """
        found = load_bundle(bundle)
        if precision not in (known := get_args(Precision)):
            raise InputError(f"Unknown precision {precision}: choose {', '.join(known[:-1])} or {known[-1]}.")
        try:
            import torch

            from csrm.scoring.load import load_engine
        except ImportError as error:
            raise MissingExtraError(error.name or "torch", "serve") from error
        if threads is not None:
            torch.set_num_threads(threads)
        manifest, head, encoder = found.manifest, found.exit_path, found.encoder_path
        loaded = load_engine(
            base or manifest.base,
            found.adapter_path,
            manifest.prompt,
            manifest.limits,
            precision=precision,  # type: ignore[arg-type]
            int8=manifest.calibrated_in == "int8",
            early_exit=(head, manifest.exit.layer) if manifest.exit and head else None,
            cross_encoder=(encoder, found.judges_first) if encoder else None,
        )
        check_reference(cls(found, loaded))
        return cls(found, loaded, cache_mb=cache_mb)

    def level(self, wanted: Level | None = None) -> Level:
        """The level that products are judged at; without an early exit there is but one.

        Args:
            wanted: where null, ``balanced`` if there is an early exit.
        """
        return "full" if self._exit is None else wanted or "balanced"

    def threshold(self, locale: str | None, level: Level | None = None) -> float:
        """Irrelevance above which a product of this locale is removed at a level."""
        if self._exit is not None and self.level(level) == "fast":
            return self._exit.threshold
        return self.bundle.threshold(locale)

    def grade(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        level: Level = "full",
        deadline: float | None = None,
        timings: dict[str, float] | None = None,
    ) -> Grades:
        """Probabilities (n, 4) of the grades E, S, C, I; arguments as in ``judge``."""
        from csrm.scoring.walk import through

        return through(
            self.grading(
                query,
                products,
                locale=locale,
                knowledge=knowledge,
                level=level,
                deadline=deadline,
                timings=timings,
            )
        ).grades

    def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        threshold: float | None = None,
        level: Level | None = None,
        deadline: float | None = None,
        partial: bool = False,
        timings: dict[str, float] | None = None,
    ) -> Judged:
        """One judgment for each product, in their order.

        Args:
            query: what the shopper typed.
            products: text of each product, the most important first.
            locale: language of the shop; picks calibration and threshold and stands in the prompt.
            knowledge: lines about the query, best first.
            threshold: irrelevance above which a product is removed; the bundle's own where null.
            level: how deep products are judged; see ``level``.
            deadline: ``time.monotonic()`` seconds after which the answer is worthless.
            partial: at the deadline, give the judgments there are; those of the other products are missing.
            timings: filled with milliseconds of ``cache``, ``tokenise``, ``prefix``, ``products`` and, as a part of
                these, ``early``; of the first alone where every product was judged before.

        Raises:
            InputError: a blank query or product; the message names it.
            DeadlineExceededError: the deadline passed; with ``partial``, before a single product was judged.
        """
        from csrm.scoring.walk import through

        return through(
            self.judging(
                query,
                products,
                locale=locale,
                knowledge=knowledge,
                threshold=threshold,
                level=level,
                deadline=deadline,
                partial=partial,
                timings=timings,
            )
        )

    def judging(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        threshold: float | None = None,
        level: Level | None = None,
        deadline: float | None = None,
        partial: bool = False,
        timings: dict[str, float] | None = None,
    ) -> Steps[Judged]:
        """``judge`` in steps of one batch each."""
        level = self.level(level)
        limit = self.threshold(locale, level) if threshold is None else threshold
        graded = yield from self.grading(
            query,
            products,
            locale=locale,
            knowledge=knowledge,
            level=level,
            threshold=limit,
            deadline=deadline,
            partial=partial,
            timings=timings,
        )
        if products and not graded.scored.any():
            raise DeadlineExceededError("The deadline passed before a single product was judged.")
        scores = expected_gain(graded.grades, self._gains)
        irrelevance = self.irrelevance(graded.grades, graded.full, locale=locale)
        limits = np.full(len(products), limit)
        if threshold is None and self._exit is not None:
            limits[~graded.settled] = max(limit, self._exit.threshold)  # early grades have to be surer of it
        judgments = [
            Judgment(
                index=int(index),
                grades=GradeProbabilities(**dict(zip(GRADES, map(float, graded.grades[index]), strict=True))),
                score=float(min(1.0, scores[index])),
                irrelevance=float(irrelevance[index]),
                decision="remove" if irrelevance[index] > limits[index] else "keep",
            )
            for index in np.flatnonzero(graded.scored)
        ]
        return Judged(judgments, level, limit, int(graded.full.sum()))

    def grading(
        self,
        query: str,
        products: Sequence[str],
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        level: Level = "full",
        threshold: float | None = None,
        deadline: float | None = None,
        partial: bool = False,
        timings: dict[str, float] | None = None,
    ) -> Steps[Graded]:
        """Grade probabilities in steps of one batch each; arguments as in ``judge``.

        Grades are remembered by depth: those of all layers serve every level, those of the first layers only where
        they are enough.
        """
        from csrm.scoring.engine import softmax
        from csrm.scoring.pace import Clock
        from csrm.scoring.walk import walk

        if not query.strip():
            raise InputError("query: empty")
        for index, product in enumerate(products):
            if not product.strip():
                raise InputError(f"products[{index}]: empty")
        place_of = {product: place for place, product in enumerate(dict.fromkeys(products))}
        if len(place_of) < len(products):  # the same text is judged once, and everywhere alike
            graded = yield from self.grading(
                query,
                list(place_of),
                locale=locale,
                knowledge=knowledge,
                level=level,
                threshold=threshold,
                deadline=deadline,
                partial=partial,
                timings=timings,
            )
            return graded.at([place_of[product] for product in products])
        started = time.perf_counter()
        level = self.level(level)
        limit = self.threshold(locale, level) if threshold is None else threshold
        by_all_asked, *early_asked = self.questions(
            query, locale=locale, knowledge=knowledge, level=level, partial=partial
        )
        full, early = _unknown(len(products)), _unknown(len(products))
        unknown, keys = self.cache.find(by_all_asked, products, full)
        unseen: list[int] = []
        for question in early_asked:
            without, early_keys = self.cache.find(question, products, early)
            key_of = dict(zip(without, early_keys, strict=True))
            unseen = [place for place in unknown if place in key_of]

        def needed() -> list[int]:
            """The products whose grades of all layers the level asks for and are not known."""
            wanted = self._needs_all(level, early, full, limit, locale)
            return [place for place in unknown if wanted[place]]

        computing = max(len(unseen), len(needed()))
        self.cache.count(len(products) - computing, computing)
        if timings is not None:
            timings["cache"] = (time.perf_counter() - started) * 1e3
        if computing:
            began = time.perf_counter()
            prefix = self._encoder.prefix(query, locale=locale, knowledge=knowledge)
            tokenise_s = time.perf_counter() - began
            encoded: list[list[int]] = []
            pairs: list[list[int]] = []
            while len(encoded) < len(unknown):
                if deadline is not None and time.monotonic() > deadline:
                    if not partial:
                        raise DeadlineExceededError("The deadline passed while the products were tokenised.")
                    break
                began = time.perf_counter()
                some = unknown[len(encoded) : len(encoded) + TOKENISED_AT_ONCE]
                texts = [products[place] for place in some]
                encoded += self._encoder.products(texts)
                if self.encoder is not None:
                    pairs += self.encoder.encode(query, texts, knowledge)
                tokenise_s += time.perf_counter() - began
                tokens = sum(map(len, encoded)) * computing // len(encoded)
                yield self._engine.pace.seconds(
                    tokens, (unseen and self._engine.exit_layer) or self._engine.layers
                )
            unknown, keys = unknown[: len(encoded)], keys[: len(encoded)]
            row_of = {place: row for row, place in enumerate(unknown)}
            unseen = [place for place in unseen if place in row_of]
            if timings is not None:
                timings["tokenise"] = tokenise_s * 1e3

            def go_on(logits: Grades) -> list[int]:
                if unseen:
                    early[unseen] = softmax(logits[[row_of[place] for place in unseen]])
                    self._keep([key_of[place] for place in unseen], early[unseen])
                return [row_of[place] for place in needed()]

            found = yield from walk(
                self._engine,
                prefix,
                encoded,
                pairs=pairs,
                early=[row_of[place] for place in unseen],
                go_on=go_on,
                keep=level != "fast",
                clock=Clock(self._engine.pace, deadline, partial),
                timings=timings,
            )
            fresh = np.zeros((len(unknown), len(GRADES)), dtype=np.float32)
            fresh[:, self._columns] = softmax(found.full)
            fresh[np.isnan(found.full[:, 0])] = np.nan
            if self._weight:
                beside = softmax(found.beside) if self._engine.first is None else early[unknown]
                fresh = mixed(fresh, beside, self._weight)
            full[unknown] = fresh
            self._keep(keys, fresh)
        by_all = ~np.isnan(full[:, 0])
        settled = by_all | ~self._needs_all(level, early, full, limit, locale)
        return Graded(np.where(by_all[:, None], full, early), by_all, settled)

    def questions(
        self,
        query: str,
        *,
        locale: str | None = None,
        knowledge: Sequence[str] = (),
        level: Level | None = None,
        partial: bool = False,
    ) -> list[Question]:
        """What `grading` looks up in the cache: grades of all layers, and those of the first where they may do."""
        question = [query, locale, *knowledge]
        asks_first = self._weight and self._engine.first is not None
        if self._exit is None or not (asks_first or partial or self.level(level) != "full"):
            return [["full", *question]]
        return [["full", *question], ["early", *question]]

    def irrelevance(
        self, grades: Grades, full: NDArray[np.bool_] | None = None, *, locale: str | None = None
    ) -> NDArray[np.float64]:
        """Calibrated P(C or I) (n,) of grade probabilities (n, 4).

        Args:
            grades: of any depth.
            full: which of them are those of all layers, (n,); all where null.
            locale: whose calibration counts.
        """
        defect = grades[:, 2:].sum(axis=1, dtype=np.float64)
        by_all = self.bundle.calibration(locale).apply(defect)
        if full is None or self._exit is None:
            return by_all
        return np.where(full, by_all, self.bundle.exit_calibration(locale).apply(defect))

    def _needs_all(
        self, level: Level, early: Grades, full: Grades, limit: float, locale: str | None
    ) -> NDArray[np.bool_]:
        """Which products (n,) a level asks all layers for; grades that are not known are NaN.

        The first layers decide, where they were asked: so the same question goes on with the same products,
        whatever is remembered.
        """
        if level == "full" or self._exit is None:
            return np.ones(len(full), dtype=np.bool_)
        if level == "fast":
            return np.zeros(len(full), dtype=np.bool_)
        by_all = np.isnan(early[:, 0])
        known = np.where(by_all[:, None], full, early)
        return self._exit.rule.goes_on(
            self.irrelevance(known, by_all, locale=locale), expected_gain(known, self._gains), limit
        )

    def _keep(self, keys: Sequence[bytes], grades: Grades) -> None:
        """Remember the grades that were computed."""
        computed = ~np.isnan(grades[:, 0])
        self.cache.keep([key for key, known in zip(keys, computed, strict=True) if known], grades[computed])


def mixed(full: Grades, early: Grades, weight: float) -> Grades:
    """Two judges' grade probabilities (n, 4) in one: the weighted mean of their logarithms, a logarithmic opinion pool.

    Args:
        full: of the one; rows that are NaN stay so.
        early: of the other.
        weight: of the latter, from 0 to 1.
    """
    from csrm.scoring.engine import softmax

    logs = [np.log(np.maximum(grades, np.float32(1e-12))) for grades in (full, early)]
    return softmax(np.asarray((1 - weight) * logs[0] + weight * logs[1], dtype=np.float32))


def _unknown(n: int) -> Grades:
    return np.full((n, len(GRADES)), np.nan, dtype=np.float32)
