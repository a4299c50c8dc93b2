"""``csrm bench``: how fast this machine is, beside what else could run on it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from csrm.benchmark.run import Results
    from csrm_serve.overhead import Overhead
    from csrm_serve.replica_memory import ReplicaMemory

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def _bench() -> None:
    """Measure this machine."""


@app.command()
def scoring(
    bundle: Annotated[str, typer.Option(help="Name or folder of the bundle to measure.")] = "default",
    shape: Annotated[
        str | None,
        typer.Option(
            help="Random weights of this shape instead: qwen3-0.6b, gemma3-270m or tiny. No download."
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Also measure what else could run the same weights: transformers, sentence-transformers, and "
            "FlagEmbedding and rerankers where they are installed.",
        ),
    ] = False,
    overhead: Annotated[
        bool,
        typer.Option(
            "--overhead",
            help="Also start the service and measure what HTTP and Serve add, and the memory of a replica.",
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="About two minutes: fewer cells, the faster precision only.")
    ] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Number format to measure: fp32, bf16 or int8; may be given several times. If not given, those that "
            "csrm serve chooses among, with int8 for a bundle that was calibrated in it; with --quick the fastest.",
        ),
    ] = None,
    products: Annotated[
        list[int] | None, typer.Option(help="Products a query; may be given several times.", min=1)
    ] = None,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(help="Queries at once, beside one alone; may be given several times.", min=1),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where torch sees one.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all cores if not given.", min=1)] = None,
    seconds_per_cell: Annotated[
        float | None,
        typer.Option(
            help="Measure each cell for so long, and at least one query a caller; 5, or 2 with --quick.",
            min=0.1,
        ),
    ] = None,
    longest_cell: Annotated[
        float | None,
        typer.Option(
            help="Leave out the cells that would take more seconds than this, going by the smaller ones; 60, or 15 "
            "with --quick.",
            min=1,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Begin no further cell after so many minutes; 60, or 2 with --quick.", min=0.1),
    ] = None,
    budget_ms: Annotated[
        float, typer.Option(help="Milliseconds that judging a search may take; recommends the window.", min=1)
    ] = 300,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Products a second and latencies of the scoring engine.

    At 10, 100 and 1,000 products and 1, 4 and 16 queries at once, where not told otherwise.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: the engine takes the GPU it sees

    import tempfile
    from dataclasses import asdict, replace

    import orjson
    from rich.console import Console

    from csrm.benchmark.machine import chosen_device, cores, describe
    from csrm.benchmark.run import QUICK, Benchmark, Plan, precisions_for, quiet
    from csrm.benchmark.weights import of_bundle, of_shape

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

    def say(step: str) -> None:
        console.print(f"[dim]{step}[/dim]")

    quiet()
    where = chosen_device(device)
    plan = QUICK if quick else Plan()
    plan = replace(
        plan,
        peers=peers,
        seconds=seconds_per_cell or plan.seconds,
        cell_limit_s=longest_cell or plan.cell_limit_s,
        minutes=minutes or plan.minutes,
        precisions=list(dict.fromkeys(precision or ())) or plan.precisions,
        products=products or plan.products,
        concurrency=sorted({1, *concurrency}) if concurrency else plan.concurrency,  # one alone is advised by
    )
    with tempfile.TemporaryDirectory(prefix="csrm-bench-") as folder:
        say("Preparing the weights")
        weights = of_shape(shape, Path(folder)) if shape else of_bundle(bundle, Path(folder))
        if not precision:
            plan = replace(plan, precisions=precisions_for(weights.bundle, where, quick=quick))
        benchmark = Benchmark(weights, plan, device=where, threads=threads or cores(), say=say)
        report: dict[str, Any] = {"machine": describe(where), "model": weights.bundle.name}
        added: Sequence[Overhead] = []
        memory: ReplicaMemory | None = None
        try:
            benchmark.run()
            advice = benchmark.advice(budget_ms)
            report["recommended"] = advice.as_json()
            if overhead:
                say("What HTTP and Serve add")
                memory, added = _added_by_serving(
                    str(weights.bundle.path), threads or cores(), rounds=5 if quick else 30
                )
                report["overhead"] = [asdict(one) for one in added]
                report["replica_memory"] = asdict(memory)
        finally:  # what was measured before an interruption is kept
            found = benchmark.results
            report["machine"]["peak_gflops"] = found.peak_gflops
            report = {
                "rows": [row.model_dump() for row in found.rows],
                "left_out": [asdict(one) for one in found.left_out],
                **report,
            }
            if json_out is not None:
                json_out.parent.mkdir(parents=True, exist_ok=True)
                json_out.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    _show(console, report["machine"], found)
    for one in added:
        console.print(
            f"HTTP and Serve add {one.added_p50_ms:.1f} ms at p50 to {one.products} products, {one.case} "
            f"({one.p50_ms:.1f} ms in all, {one.model_p50_ms:.1f} ms of them in the replica's model and cache)"
        )
    if memory is not None:
        console.print(
            f"A replica at rest takes {memory.ready_mb:,.0f} MB of memory in {memory.precision}, "
            f"{memory.served_mb:,.0f} MB after the searches"
        )
    console.print("\nRecommended here", *advice.sentences(), sep="\n")


def _added_by_serving(bundle: str, threads: int, rounds: int) -> tuple[ReplicaMemory, Sequence[Overhead]]:
    from csrm_serve.local import running
    from csrm_serve.overhead import measure_overhead
    from csrm_serve.replica_memory import memory_around
    from csrm_serve.settings import ServeSettings

    settings = ServeSettings(bundle=bundle, threads=threads, default_deadline_ms=300_000)
    with running(settings, port=_free_port(), dashboard_port=_free_port()) as addresses:
        return memory_around(addresses.api, lambda: measure_overhead(addresses.api, rounds=rounds))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _show(console: Console, machine: dict[str, Any], found: Results) -> None:
    from rich.table import Table

    peaks = ", ".join(
        f"{peak:,.0f} {'GOP/s' if name == 'int8' else 'GFLOP/s'} in {name}"
        for name, peak in machine["peak_gflops"].items()
    )
    table = Table(
        "scorer", "precision", "products", "at once", "products/s", "p50 ms", "p99 ms", "% of peak", "Kendall",
        title=f"{machine['device']}, {machine['threads']} threads, {peaks}",
    )  # fmt: skip
    for row in found.rows:
        table.add_row(
            row.scorer,
            row.precision,
            f"{row.products:,}",
            str(row.concurrency),
            f"{row.products_per_s:,.1f}",
            f"{row.p50_ms:,.0f}",
            f"{row.p99_ms:,.0f}",
            f"{row.percent_of_peak:.0f}",
            f"{row.kendall_vs_fp32:.3f}",
        )
    console.print(table)
    for one in found.left_out:
        console.print(f"[dim]left out: {one.scorer} {one.precision}, {one.reason}[/dim]")
