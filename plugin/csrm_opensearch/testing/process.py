"""Runs one OpenSearch node as a child process on a home folder. Knows no Maven and no Docker.

The node's run folder (config, data, log) is temporary. The child ends with its parent, also when the parent
is killed: it watches its standard input, whose other end only the parent holds.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from csrm_opensearch.testing.errors import NodeStartError, NotEnoughMemoryError, PortTakenError
from csrm_opensearch.testing.home import Progress
from csrm_opensearch.testing.java import Jdk

_log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 15.0
_LOG_TAIL_LINES = 15
_PATIENCE = 5.0
"""So many times its time limit a node may take that goes on logging: a busy machine is no reason to give up."""
# What the JVM takes beside its heap: class data, code, threads, network buffers.
_BESIDE_HEAP_MB = 250

_JVM_OPTIONS = (
    # A test node lives for minutes: quick start and little memory count for more than peak speed.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
    "-Dlog4j2.disable.jmx=true",
    "-Dio.netty.noUnsafe=true",
    "-Dio.netty.noKeySetOptimization=true",
)

_SETTINGS: dict[str, object] = {
    "cluster.name": "csrm-local",
    "node.name": "local",
    "network.host": "127.0.0.1",
    "transport.port": 0,
    "discovery.type": "single-node",
    "cluster.routing.allocation.disk.threshold_enabled": False,
}


class NodeProcess:
    """A local node that answers. Made by :func:`start_node`.

    Attributes:
        port: its HTTP port on 127.0.0.1.
        pid: its process id.
    """

    def __init__(self, process: subprocess.Popen[bytes], run: Path, port: int) -> None:
        self.port = port
        self.pid = process.pid
        self._process = process
        self._run = run

    def stop(self) -> None:
        """Ends the node and removes its data; a second call does nothing."""
        _end(self._process)
        shutil.rmtree(self._run, ignore_errors=True)


def start_node(
    home: Path,
    jdk: Jdk,
    *,
    port: int | None,
    heap_mb: int,
    timeout_s: float,
    progress: Progress,
    plugin_zips: Sequence[Path] = (),
    settings: Mapping[str, object] | None = None,
    secrets: Mapping[str, str] | None = None,
    jvm_options: Sequence[str] = (),
) -> NodeProcess:
    """Starts a node on ``home`` and waits until it answers on HTTP.

    Args:
        port: HTTP port on 127.0.0.1; any free one when None.
        heap_mb: the Java heap in MiB.
        timeout_s: how long it may stay silent while it starts; one that goes on logging gets five times as long.
        plugin_zips: plugins besides those of the home, as ``opensearch-plugin install`` takes them.
        settings: more lines of opensearch.yml.
        secrets: settings in the node's keystore.
        jvm_options: more lines of jvm.options.

    Raises:
        PortTakenError, NotEnoughMemoryError, NodeStartError
    """
    if port is not None and _is_taken(port):
        raise PortTakenError(port)
    needed = heap_mb + _BESIDE_HEAP_MB
    free = available_memory_mb()
    if free is not None and free < needed:
        raise NotEnoughMemoryError(
            f"OpenSearch with a heap of {heap_mb} MB needs {needed} MB of free memory and {free} MB are "
            "free: close other programs, or ask for a smaller heap."
        )
    progress("Starting OpenSearch")
    run = Path(tempfile.mkdtemp(prefix="csrm-opensearch-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        _write_config(run, port, settings or {}, secrets or {})
        with (run / "node.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    jdk.java,
                    *_JVM_OPTIONS,
                    *jvm_options,
                    f"-Xmx{heap_mb}m",
                    f"-Djava.io.tmpdir={run / 'tmp'}",
                    "-cp",
                    f"{home / 'launcher'}:{home / 'lib'}/*",
                    "LocalNode",
                    _with_plugins(home, run, plugin_zips),
                    run,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal is for us; we stop the node in our own order.
                process_group=0,
            )
        _log.debug("OpenSearch node is process %d in %s", process.pid, run)
        return NodeProcess(process, run, _wait_for_port(process, run, port, timeout_s))
    except BaseException:
        if process is not None:
            _end(process)
        shutil.rmtree(run, ignore_errors=True)
        raise


def available_memory_mb() -> int | None:
    """Free memory in MiB, as the kernel counts it, or None where it does not tell (only Linux does)."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return None


def _with_plugins(home: Path, run: Path, plugin_zips: Sequence[Path]) -> Path:
    """The home itself, or one of this run's own that shares everything with it but has more plugins."""
    if not plugin_zips:
        return home
    own = run / "home"
    (own / "plugins").mkdir(parents=True)
    for name in ("lib", "modules"):
        (own / name).symlink_to(home / name)
    for plugin in (home / "plugins").iterdir():
        (own / "plugins" / plugin.name).symlink_to(plugin)
    for file in plugin_zips:
        shutil.unpack_archive(file, own / "plugins" / file.stem)
    return own


def _write_config(
    run: Path, port: int | None, more: Mapping[str, object], secrets: Mapping[str, str]
) -> None:
    settings = _SETTINGS | {
        "http.port": port or 0,
        "path.data": str(run / "data"),
        "path.logs": str(run / "logs"),
        **more,
    }
    config = run / "config"
    config.mkdir()
    (run / "tmp").mkdir()
    (config / "opensearch.yml").write_text(json.dumps(settings, indent=2))  # JSON is YAML
    (run / "secrets").mkdir()
    for name, secret in secrets.items():
        (run / "secrets" / name).write_text(secret)  # the launcher moves them into the keystore
    log4j = resources.files("csrm_opensearch.testing") / "assets" / "log4j2.properties"
    (config / "log4j2.properties").write_bytes(log4j.read_bytes())


def _wait_for_port(process: subprocess.Popen[bytes], run: Path, asked: int | None, timeout_s: float) -> int:
    started = heard_at = time.monotonic()
    answer, log = run / "http.port", run / "node.log"
    logged = 0
    while not answer.exists():
        if process.poll() is not None:
            raise _failure(process.returncode, log, asked)
        now = time.monotonic()
        if log.stat().st_size > logged:
            logged, heard_at = log.stat().st_size, now
        if now - heard_at > timeout_s or now - started > _PATIENCE * timeout_s:
            raise NodeStartError(
                f"OpenSearch did not come up in {now - started:.0f} s: give it more time or a quieter machine.",
                _tail(log),
            )
        time.sleep(0.05)
    return int(answer.read_text())


def _failure(code: int, log: Path, asked: int | None) -> Exception:
    text = log.read_text(errors="replace")
    if "BindHttpException" in text and asked is not None:
        return PortTakenError(asked)
    if (
        code == -9
        or "insufficient memory" in text
        or "java.lang.OutOfMemoryError" in text  # the log also quotes our own option of that name
        or "Could not reserve" in text
    ):
        return NotEnoughMemoryError(
            "OpenSearch ran out of memory while starting: close other programs, or ask for another heap size."
        )
    return NodeStartError(
        f"OpenSearch ended with code {code} while starting: see the end of its log.", _tail(log)
    )


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    # The frames of Java's tracebacks would push out what tells the reason.
    told = [line for line in lines if not line.startswith(("\tat ", "\t...", "    at "))]
    return "\n".join(told[-_LOG_TAIL_LINES:])


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
