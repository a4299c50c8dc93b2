"""The whole table: every scorer at every precision, and how well its order agrees with the plain model in fp32.

Knows how long things may take: a cell that would take too long by what the smaller ones took, and a scorer that cannot
be had, are left out and said to be.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from csrm.benchmark.advice import Advice, advise
from csrm.benchmark.agreement import Scores, kendall, readings
from csrm.benchmark.duration import longest_s
from csrm.benchmark.machine import cores
from csrm.benchmark.measuring import grid, measure
from csrm.benchmark.peak import DTYPES, peak_gflops
from csrm.benchmark.peers import PEERS
from csrm.benchmark.plain import last_word, reference
from csrm.benchmark.row import Row
from csrm.benchmark.scorers import LEVELS, Scorer, levels
from csrm.benchmark.weights import Weights
from csrm.benchmark.work import Work
from csrm.benchmark.workload import Search, searches
from csrm.bundle import Bundle
from csrm.errors import CsrmError, InputError
from csrm.model import RelevanceModel
from csrm.scoring.load import MAX_DIFFERENCE, choices, fastest, lacking

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how long that may take.

    Args:
        products: products a query.
        concurrency: queries at once.
        precisions: ``fp32``, ``bf16``, ``int8``; what others run is measured in the first two.
        peers: whether what a user would run instead is measured too.
        seconds: of a cell; every caller asks at least once, and what has begun is waited for.
        cell_limit_s: a cell that would take longer, with one query a caller, is left out.
        minutes: after which no further cell is begun.
        compared: searches, and products of each, whose order is compared.

    Raises:
        InputError: there is no such precision.
    """

    products: Sequence[int] = (10, 100, 1_000)
    concurrency: Sequence[int] = (1, 4, 16)
    precisions: Sequence[str] = ("fp32", "bf16")
    peers: bool = False
    seconds: float = 5.0
    cell_limit_s: float = 60.0
    minutes: float = 60.0
    compared: tuple[int, int] = (4, 50)

    def __post_init__(self) -> None:
        for precision in self.precisions:
            if precision not in MAX_DIFFERENCE:
                raise InputError(f"Unknown precision {precision}: choose fp32, bf16 or int8.")


def precisions_for(bundle: Bundle, device: str, *, quick: bool = False) -> Sequence[str]:
    """The precisions that ``auto`` chooses among for a bundle on a device, or the one that it chooses there.

    Args:
        bundle: that is to be served.
        device: ``cpu`` or ``cuda``.
        quick: that one alone.
    """
    where = torch.device(device)
    among = choices(where, int8=bundle.manifest.calibrated_in == "int8")
    return [fastest(where, among)] if quick else among


QUICK = Plan(
    products=(10, 100), concurrency=(1, 4), seconds=2.0, cell_limit_s=15.0, minutes=2.0, compared=(2, 10)
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What has no row, and why: a cell with the seconds that it would take, or, where these are null, a scorer."""

    scorer: str
    precision: str
    reason: str
    products: int | None = None
    concurrency: int | None = None
    predicted_s: float | None = None


@dataclass(slots=True)
class Results:
    """What a run has found so far."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    peak_gflops: dict[str, float] = field(default_factory=dict)


class Benchmark:
    """One run.

    Args:
        weights: what is run.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; torch's own choice if None.
        say: called with one line at the start of each step.
    """

    def __init__(
        self,
        weights: Weights,
        plan: Plan,
        *,
        device: str,
        threads: int | None = None,
        say: Say = lambda _: None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._weights = weights
        self._plan = plan
        self._device = device
        self._threads = threads
        self._say = say
        self._until = time.monotonic() + plan.minutes * 60
        self._multiplies = torch.get_float32_matmul_precision()
        config = AutoConfig.from_pretrained(weights.folder)
        self._layers: int = config.num_hidden_layers
        self._work = Work.of(config)
        self._encoder = weights.encoder()
        self.results = Results()

    def run(self) -> Results:
        """Measure everything of the plan, peak and agreement first.

        Raises:
            InputError: a precision of the plan cannot run here, or our engine runs in none of them.
        """
        for precision in self._plan.precisions:
            if reason := lacking(precision, torch.device(self._device)):
                raise InputError(f"precision: {precision} cannot be measured here: {reason}.")
        self._say(self._ahead())
        for precision in self._plan.precisions:
            self._say(f"The machine's peak in {precision}")
            self.results.peak_gflops[precision] = peak_gflops(self._device, precision)
        self._say("The plain model in fp32, to compare with")
        count, products = self._plan.compared
        compared = list(islice(searches(products), count))
        logits = reference(self._weights, self._device, compared)
        words = last_word(self._weights, self._device, compared, logits)
        for precision in self._plan.precisions:
            self._ours(precision, compared, words)
        if not self.results.rows:
            raise InputError(f"precision: {'; '.join(one.reason for one in self.results.left_out)}.")
        if self._plan.peers:
            for precision in self._shared_with_peers():
                self._others(precision, compared, logits)
        return self.results

    def advice(self, budget_ms: float) -> Advice:
        """Settings for this machine, once the plan was run; threads and replicas are tried for a moment each."""
        count = self._threads or cores()
        scaling: dict[int, float] = {}
        if self._device == "cpu":
            self._say("How threads share the cores")
            model = load(self._weights, self._plan.precisions[-1], None)
            scorer = levels(model, self._layers)[0]
            products = self._fitting(scorer)
            for threads in sorted({1, max(1, count // 2), count}):
                torch.set_num_threads(threads)
                scaling[threads] = measure(scorer, products, 1, seconds=self._plan.seconds / 2).products_per_s
        return advise(
            self.results.rows, scaling, cores=count, budget_ms=budget_ms, on_gpu=self._device == "cuda"
        )

    def _fitting(self, scorer: Scorer) -> int:
        """Products of a search that is long enough to tell threads apart, and not too long to be tried."""
        rate = max(row.products_per_s for row in self.results.rows if row.scorer == scorer.name)
        fit = [n for n in self._plan.products if n <= 100 and n / rate <= 2 * self._plan.seconds]
        return max(fit, default=min(self._plan.products))

    def _ahead(self) -> str:
        """How long this will take."""
        plan, own = self._plan, len(LEVELS) if self._weights.bundle.manifest.exit else 1
        scorers = len(plan.precisions) * own
        if plan.peers:
            scorers += len(self._shared_with_peers()) * len(PEERS)
        cells = list(grid(plan.products, plan.concurrency))
        each_s = longest_s(
            cells, seconds=plan.seconds, limit_s=plan.cell_limit_s, compared=math.prod(plan.compared)
        )
        most = min(plan.minutes, scorers * each_s / 60)
        return (
            f"At most {most:,.0f} minutes, and the time to load. Scorers: {scorers}. Cells of each: {len(cells)}, of "
            f"{plan.seconds:g} s or one query a caller; what would take more than {plan.cell_limit_s:g} s is left out"
        )

    def _shared_with_peers(self) -> list[str]:
        return [precision for precision in self._plan.precisions if precision in DTYPES]

    def _ours(self, precision: str, compared: Sequence[Search], logits: Sequence[Scores]) -> None:
        self._say(f"Loading {self._weights.bundle.name} in {precision}")
        model = load(self._weights, precision, self._threads)
        if model.precision != precision:
            self._leave_out("csrm", precision, model.warning or f"{model.precision} was taken")
            return
        for scorer in levels(model, self._layers):
            self._measure(scorer, compared, logits)

    def _others(self, precision: str, compared: Sequence[Search], logits: Sequence[Scores]) -> None:
        for name, factory in PEERS.items():
            if time.monotonic() > self._until:
                self._leave_out(name, precision, "the time was over")
                continue
            gc.collect()
            torch.set_float32_matmul_precision(self._multiplies)  # as their users have it
            self._say(f"Loading {name} in {precision}")
            try:
                self._measure(factory(self._weights, precision, self._device), compared, logits)
            except ImportError as error:
                missing = (error.name or name).partition(".")[0]
                self._leave_out(name, precision, f"{missing} is not installed")
            except CsrmError:
                raise
            except Exception as error:  # foreign code may raise anything, and the other rows are worth having
                self._leave_out(name, precision, f"{type(error).__name__}: {error}".splitlines()[0])

    def _measure(self, scorer: Scorer, compared: Sequence[Search], logits: Sequence[Scores]) -> None:
        self._say(f"{scorer.name} {scorer.precision}")
        alike = self._alike(scorer, compared, logits)
        rate = 0.0
        for number, cell in enumerate(grid(self._plan.products, self._plan.concurrency)):
            products, concurrency = cell
            takes_s = products * concurrency / rate if rate else 0.0
            if takes_s > self._plan.cell_limit_s:
                self._leave_cell_out(scorer, cell, f"would take {takes_s:,.0f} s", takes_s)
                continue
            if rate and time.monotonic() + takes_s > self._until:  # the first cell is always worth it
                self._leave_cell_out(scorer, cell, "the time was over", takes_s)
                continue
            found = measure(scorer, products, concurrency, seconds=self._plan.seconds, first=1_000 * number)
            rate = found.products_per_s
            self.results.rows.append(
                Row(
                    scorer=scorer.name,
                    precision=scorer.precision,
                    products=products,
                    concurrency=concurrency,
                    products_per_s=round(rate, 2),
                    p50_ms=round(found.percentile_ms(50), 2),
                    p99_ms=round(found.percentile_ms(99), 2),
                    percent_of_peak=round(self._percent(scorer, products, rate), 2),
                    kendall_vs_fp32=round(alike, 4),
                )
            )

    def _alike(self, scorer: Scorer, compared: Sequence[Search], logits: Sequence[Scores]) -> float:
        """Kendall's tau with what the plain model says in fp32, over as many of the searches as there is time for."""
        read = readings(self._weights.gains)[scorer.reading]
        until = time.monotonic() + self._plan.cell_limit_s
        found = []
        for search, own in zip(compared, logits, strict=True):
            found.append(kendall(read(own), scorer(search)))
            if time.monotonic() > until:
                break
        return float(np.mean(found))

    def _percent(self, scorer: Scorer, products: int, rate: float) -> float:
        """Of the peak, in the work that the search takes at least: every token once."""
        sample = list(islice(searches(products), 8))
        flops = sum(scorer.flops(search, self._whole(search)) for search in sample)
        per_product = flops / sum(len(search.products) for search in sample)
        return 100 * rate * per_product / (self.results.peak_gflops[scorer.precision] * 1e9)

    def _whole(self, search: Search) -> float:
        prefix = self._encoder.prefix(search.query, locale=search.locale)
        return self._work.flops(len(prefix), [len(ids) for ids in self._encoder.products(search.products)])

    def _leave_cell_out(self, scorer: Scorer, cell: tuple[int, int], why: str, takes_s: float) -> None:
        products, concurrency = cell
        reason = f"{products:,} products, {concurrency} at once: {why}"
        self._note(LeftOut(scorer.name, scorer.precision, reason, products, concurrency, round(takes_s, 1)))

    def _leave_out(self, scorer: str, precision: str, reason: str) -> None:
        self._note(LeftOut(scorer, precision, reason))

    def _note(self, one: LeftOut) -> None:
        self.results.left_out.append(one)
        self._say(f"  left out: {one.scorer} {one.precision}, {one.reason}")


def load(weights: Weights, precision: str, threads: int | None) -> RelevanceModel:
    """Our model of the weights, without a cache of grades: every product is scored."""
    return RelevanceModel.load(weights.bundle.path, precision=precision, threads=threads)


def quiet() -> None:
    """No progress bars and no notes of the libraries between the lines."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    set_verbosity_error()  # type: ignore[no-untyped-call]
