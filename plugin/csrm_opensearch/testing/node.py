"""The one way to an OpenSearch node for development, the demo and the tests: :func:`opensearch_node`.

Takes the node that OPENSEARCH_URL names; else runs the official image, if a container engine answers; else
runs a node put together from Maven artifacts on this machine's JDK. Knows where a node can come from and how
to ask whether it answers; how each is run is in container.py and process.py.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

from csrm_opensearch.testing import container
from csrm_opensearch.testing.errors import ContainerError, NodeStartError, NodeUrlError
from csrm_opensearch.testing.home import Progress, node_home
from csrm_opensearch.testing.java import find_jdk
from csrm_opensearch.testing.process import start_node
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, release

Kind = Literal["url", "docker", "local"]

# What OpenSearch's own rerank pipeline and hybrid search need.
RERANK_PLUGINS = ("opensearch-job-scheduler", "opensearch-knn", "opensearch-neural-search", "opensearch-ml")

# No connection, no HTTP, or not what OpenSearch answers.
_NO_ANSWER = (OSError, HTTPException, KeyError, TypeError, ValueError)


@dataclass
class OpenSearchNode:
    """A node that answers.

    Attributes:
        url: where, e.g. ``http://127.0.0.1:41234``.
        kind: ``url`` (somebody else's, never stopped), ``docker`` or ``local``.
        version: e.g. ``2.19.1``.
        pid: the process of a local node.
    """

    url: str
    kind: Kind
    version: str
    pid: int | None = None
    _stop: Callable[[], None] = field(default=lambda: None, repr=False)

    def stop(self) -> None:
        """Ends the node and removes its data; does nothing for a node that is somebody else's."""
        self._stop()
        self._stop = lambda: None


@contextmanager
def opensearch_node(
    plugins: bool = False,
    port: int | None = None,
    *,
    version: str = OPENSEARCH_VERSION,
    kind: Kind | None = None,
    heap_mb: int = 512,
    timeout_s: float = 120.0,
    progress: Progress | None = None,
    cache: Path | None = None,
    plugin_zips: Sequence[Path] = (),
    settings: Mapping[str, object] | None = None,
    secrets: Mapping[str, str] | None = None,
    jvm_options: Sequence[str] = (),
) -> Iterator[OpenSearchNode]:
    """An OpenSearch node while the context lasts.

    Args:
        plugins: with job-scheduler, k-NN, neural-search and ml-commons.
        port: HTTP port on 127.0.0.1; any free one when None. OPENSEARCH_URL has its own.
        version: of a node that is started here; a local one can be one of ``releases.RELEASES``.
        kind: where the node must come from; when None, ``url`` if OPENSEARCH_URL is set, else ``docker`` if
            an engine answers, else ``local``.
        heap_mb: the Java heap in MiB of a node that is started here.
        timeout_s: how long a node that is started here may take to answer, after everything was fetched; a local
            one that goes on logging gets five times as long.
        progress: called with a short line at every step.
        cache: where a local node's software is kept; the user's cache folder by default.
        plugin_zips: further plugins of a local node, as ``opensearch-plugin install`` takes them.
        settings: further lines of a local node's opensearch.yml.
        secrets: settings in a local node's keystore.
        jvm_options: further lines of a local node's jvm.options.

    Raises:
        NodeError: one of the reasons in :mod:`csrm_opensearch.testing.errors`.
    """
    tell = progress or (lambda _: None)
    local = partial(
        _local,
        version,
        plugins,
        cache,
        port=port,
        heap_mb=heap_mb,
        timeout_s=timeout_s,
        progress=tell,
        plugin_zips=plugin_zips,
        settings=settings,
        secrets=secrets,
        jvm_options=jvm_options,
    )
    match kind or _choose():
        case "url":
            node = _from_url(os.environ.get("OPENSEARCH_URL", ""), plugins)
        case "docker":
            try:
                node = _in_container(version, port, heap_mb, timeout_s, tell)
            except ContainerError as error:
                if kind == "docker":
                    raise
                # For instance an engine without a way to fetch the image; this machine may still do without.
                tell(f"{error} Trying without it")
                node = local()
        case "local":
            node = local()
    try:
        tell(f"OpenSearch {node.version} answers")
        yield node
    finally:
        node.stop()


def _choose() -> Kind:
    if os.environ.get("OPENSEARCH_URL"):
        return "url"
    return "docker" if container.engine_answers() else "local"


def _from_url(url: str, plugins: bool) -> OpenSearchNode:
    if not url.startswith(("http://", "https://")):
        raise NodeUrlError(
            "OPENSEARCH_URL is no http(s) URL: set it to one like http://127.0.0.1:9200, or unset it."
        )
    try:
        version = _ask_version(url)
        missing = [name for name in RERANK_PLUGINS if plugins and name not in _ask_plugins(url)]
    except _NO_ANSWER as error:
        raise NodeUrlError(
            "The node that OPENSEARCH_URL names does not answer as OpenSearch: start it, correct the URL, or "
            f"unset the variable ({_one_line(error)})."
        ) from error
    if missing:
        raise NodeUrlError(
            f"The node that OPENSEARCH_URL names lacks {', '.join(missing)}: install them there, or unset "
            "the variable."
        )
    return OpenSearchNode(url=url.rstrip("/"), kind="url", version=version)


def _in_container(
    version: str, port: int | None, heap_mb: int, timeout_s: float, tell: Progress
) -> OpenSearchNode:
    started = container.start_container(version, port=port, heap_mb=heap_mb, progress=tell)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = _ask_version(started.url)
            return OpenSearchNode(url=started.url, kind="docker", version=found, _stop=started.stop)
        except _NO_ANSWER as error:
            if time.monotonic() > deadline:
                log = started.log_tail()
                started.stop()
                raise NodeStartError(
                    f"{started.image} did not answer in {timeout_s:.0f} s: try a longer time limit.",
                    log,
                ) from error
            time.sleep(0.5)
        except BaseException:
            started.stop()
            raise


def _local(
    version: str, plugins: bool, cache: Path | None, *, progress: Progress, **options: Any
) -> OpenSearchNode:
    """A node of this machine; the options are those of :func:`start_node`."""
    wanted = release(version, plugins=plugins)
    jdk = find_jdk(wanted.java)
    home = node_home(jdk, wanted, plugins=plugins, progress=progress, cache=cache)
    process = start_node(home, jdk, progress=progress, **options)
    url = f"http://127.0.0.1:{process.port}"
    try:
        found = _ask_version(url)
    except BaseException:
        process.stop()
        raise
    return OpenSearchNode(url=url, kind="local", version=found, pid=process.pid, _stop=process.stop)


def _ask_version(url: str) -> str:
    return str(_get(url, "/")["version"]["number"])


def _ask_plugins(url: str) -> set[str]:
    return {row["component"] for row in _get(url, "/_cat/plugins?format=json")}


def _get(url: str, path: str) -> Any:
    """The JSON answer of one node, asked without a proxy; user and password may stand in the URL.

    Not by opensearch-py, which logs a traceback for every attempt on a node that is not up yet.
    """
    parts = urlsplit(url)
    request = Request(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", "")))
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(user.encode()).decode()}")
    with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
