"""The application builder `csrm_serve.app:build`, for `csrm serve` and Ray's `serve run` and `serve deploy`.

Which deployments there are, and their options; a config YAML (`config.yaml` here) may override them.
"""

# No `from __future__ import annotations` here: Serve validates a config's `args` by the annotation of `build`.

from pathlib import Path

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from csrm_serve.body_limit import MAX_REQUESTS_UNDER_WAY
from csrm_serve.deployments import Ingress, Retriever, Scorer
from csrm_serve.door import Address
from csrm_serve.settings import ServeSettings

APPLICATION = "csrm"
CONFIG_FILE = Path(__file__).with_name("config.yaml")


def build(args: ServeSettings) -> Application:
    """The application behind Serve's proxies.

    Args:
        args: the `args` of a config YAML, or `key=value` after `serve run csrm_serve.app:build`.
    """
    return application(args)


def application(args: ServeSettings, listen: Address | None = None) -> Application:
    """The application: Ingress -> Scorer, Retriever; for each further bundle Scorer-2, Retriever-2 and so on.

    Args:
        args: its settings.
        listen: where its one ingress listens itself; null leaves that to Serve's proxies.
    """
    parts = {
        bundle: _parts(args.of(bundle), "" if place == 0 else f"-{place + 1}")
        for place, bundle in enumerate(args.bundles)
    }
    ingress = serve.deployment(
        name="Ingress",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=MAX_REQUESTS_UNDER_WAY,  # it only waits
        max_queued_requests=MAX_REQUESTS_UNDER_WAY,  # at Serve's proxies, each of which may hold a body
        user_config={"shares": args.shares},
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
    )(serve.ingress()(Ingress))
    return ingress.bind(parts, args, listen)


def _parts(args: ServeSettings, suffix: str) -> tuple[Application, Application]:
    """Scorer and retriever of one bundle. Scorers of their own share no cores and no memory: a model that nobody
    asks for keeps its memory, and one that is asked for is never loaded while a shopper waits."""
    gpus = {"num_gpus": args.gpus} if args.gpus else {}
    scorer = serve.deployment(
        name=f"Scorer{suffix}",
        ray_actor_options={"num_cpus": args.threads, **gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=args.min_replicas,
            max_replicas=args.max_replicas,
            # Whatever is under way counts, at the ingress too: max_ongoing_requests changes nothing here.
            target_ongoing_requests=args.target_ongoing_requests,
            upscale_delay_s=10,
            downscale_delay_s=300,
        ),
        max_constructor_retry_count=2,  # what a bundle lacks, it lacks the third time too
        # What waits at the ingress waits for a whole job to end, however short it is, so a handful of long ones must
        # not fill the replica; not many more, since each holds its products' residuals.
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        # The model computes off the event loop, so a replica answers under load; a busy machine takes longer.
        health_check_period_s=10,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
    )(Scorer)
    retriever = serve.deployment(
        name=f"Retriever{suffix}",
        ray_actor_options={"num_cpus": 0},  # some milliseconds a query on one thread: no core of its own
        max_ongoing_requests=32,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.5,
    )(Retriever)
    return scorer.bind(args), retriever.bind(args)
