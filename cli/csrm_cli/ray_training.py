"""A training on several Ray workers: Ray Train starts them and joins them, each runs the same recipe.

Knows Ray Train; what the workers do together is ``csrm.training.parallel``. Needs a folder that all machines see.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from csrm.errors import InputError, TrainingError
from csrm.training.recipe import Recipe
from csrm_cli.training_progress import log_step

_OURS = re.compile(r"csrm\w*(\.\w+)+: ")
"""How a traceback begins its last line where the error is one of ours."""

_DIED = re.compile(r"process has died|actor died")
"""What Ray says of a worker that is no more, whichever of its errors says it."""


def train_on_workers(recipe: Recipe, run: Path, data: list[Path], workers: int) -> Path:
    """Train a recipe data-parallel: each worker takes its rows of every step, on a GPU of its own where there are any.

    Args:
        recipe: what to train.
        run: folder of the run, on a disk that all workers share.
        data: folders of the recipe's files, likewise.
        workers: processes; on CPUs each takes an equal part of this cluster's cores.

    Returns:
        The folder of the trained adapter.

    Raises:
        InputError: the cluster has fewer GPUs or cores than workers.
        TrainingError: a worker failed; its own words are in the message, and what was checkpointed is kept.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(ignore_reinit_error=True, log_to_driver=True)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    if (gpus or cores) < workers:
        raise InputError(
            f"--workers {workers}: this Ray cluster has only {gpus or cores} {'GPUs' if gpus else 'cores'}."
        )
    scaling = ScalingConfig(
        num_workers=workers,
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": max(1, cores // workers)} | ({"GPU": 1} if gpus else {}),
    )
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "recipe": recipe.from_the_root().model_dump(mode="json"),  # workers run elsewhere
            "run": str(run.resolve()),
            "data": [str(folder.resolve()) for folder in data],
        },
        scaling_config=scaling,
        run_config=RunConfig(
            name="ray", storage_path=str(run.resolve()), failure_config=FailureConfig(max_failures=0)
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps whatever the worker raised
        raise TrainingError(f"A worker failed: {own_words(error)}") from error
    return run / "adapter"


def own_words(error: BaseException) -> str:
    """What a worker ended with: one with an error of ours, or one that died, for the others only lost touch with it."""
    failures = getattr(error, "worker_failures", None) or {0: error.__cause__ or error}
    lines = [
        (str(failure).strip() or type(failure).__name__).splitlines()[-1] for failure in failures.values()
    ]
    if ours := next((line for line in lines if _OURS.match(line)), None):
        return _OURS.sub("", ours)
    for number, failure in failures.items():
        if _DIED.search(str(failure)):
            return f"number {number} ended without a word: it was killed, or its machine's memory ran out."
    return lines[0]


def _work(config: dict[str, Any]) -> None:
    from csrm.training import parallel
    from csrm.training.run import train

    logging.basicConfig(level=logging.INFO)  # Ray brings what a worker logs to the terminal of the command
    train(
        Recipe.model_validate(config["recipe"]),
        Path(config["run"]),
        [Path(folder) for folder in config["data"]],
        on_step=log_step if parallel.number() == 0 else None,
    )
