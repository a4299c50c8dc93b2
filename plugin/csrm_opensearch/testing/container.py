"""Runs OpenSearch's official image on a container engine, through testcontainers. Knows no Java."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from csrm.errors import MissingExtraError
from csrm_opensearch.testing.errors import ContainerError, PortTakenError
from csrm_opensearch.testing.home import Progress

IMAGE = "opensearchproject/opensearch"
_HTTP_PORT = 9200


@dataclass(frozen=True)
class NodeContainer:
    """A node in a container that was started; whether it answers yet is for the caller to ask."""

    image: str
    url: str
    stop: Callable[[], None]
    log_tail: Callable[[], str]


def engine_answers() -> bool:
    """True when a container engine answers; False also when the library to ask it with is not installed."""
    try:
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return False
    try:
        engine = DockerClient(timeout=5).client
        try:
            return bool(engine.ping())
        finally:
            engine.close()
    except Exception:  # whatever went wrong, it is no engine that can be used
        return False


def start_container(version: str, *, port: int | None, heap_mb: int, progress: Progress) -> NodeContainer:
    """Starts the official image with its security plugin off, on 127.0.0.1.

    Raises:
        ContainerError: the engine could not fetch or start the image.
        PortTakenError: ``port`` is in use.
        MissingExtraError: testcontainers is not installed.
    """
    try:
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise MissingExtraError("testcontainers", "dev") from error
    image = f"{IMAGE}:{version}"
    progress(f"Starting {image} (fetched first, if this machine does not have it)")
    container = None
    try:
        container = DockerContainer(image)
        container.with_env("DISABLE_SECURITY_PLUGIN", "true")
        container.with_env("DISABLE_INSTALL_DEMO_CONFIG", "true")
        container.with_env("OPENSEARCH_JAVA_OPTS", f"-Xms{heap_mb}m -Xmx{heap_mb}m")
        container.with_env("discovery.type", "single-node")
        # A node without a password is for this machine only; with no port the engine chooses one. An engine
        # on another machine has to publish it there.
        here = container.get_docker_client().host() in ("localhost", "127.0.0.1")
        bindings: dict[str, Any] = container.ports
        bindings[f"{_HTTP_PORT}/tcp"] = ("127.0.0.1", port) if here else port
        container.start()
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(_HTTP_PORT)}"
    except Exception as error:  # the engine's client has no common base of its errors
        if container is not None:
            container.stop()
        if port is not None and re.search(r"already (allocated|in use)", str(error)):
            raise PortTakenError(port) from error
        raise ContainerError(
            f"The container engine could not start {image}: check that it can fetch images, or set "
            f"OPENSEARCH_URL to a node that runs ({' '.join(str(error).split())})."
        ) from error

    def log_tail() -> str:
        return b"".join(container.get_logs()).decode(errors="replace")[-2000:]

    return NodeContainer(image=image, url=url, stop=container.stop, log_tail=log_tail)
