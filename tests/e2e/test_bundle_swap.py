"""New bundles under a stream of requests on a real Ray cluster: a trial, a larger share, a swap, two bundles that are
refused, and no failed request.

The model is tiny and random: what is tested is who answers, not what.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from csrm.model import RelevanceModel
from csrm.reference import reference_rows
from tests.integration.cache_server import NAME, Server
from tests.unit.csrm.conftest import save_base, save_distinct
from tests.unit.csrm.test_reference import shuffled_tokenizer

from .conftest import free_port
from .ray_cluster import ray_cluster, serve_deploy, shipped_config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_base("gemma3", folder)
    return folder


def bundle(folder: Path, base: Path, version: int, **more: object) -> Path:
    folder.mkdir(exist_ok=True)
    manifest = {"name": "tiny", "version": version, "base": str(base), **more}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def strangers(folder: Path, base: Path) -> tuple[Path, Path]:
    """Bundles as `csrm calibrate` writes them, fitted on another base: one whose base has got another tokenizer of the
    same size since, and one that names a base of the same shape."""
    other = folder / "other"
    save_distinct(base, other)
    fitted = RelevanceModel.load(bundle(folder / "v8", other, 8), precision="fp32", threads=1)
    rows = [row.model_dump() for row in reference_rows(fitted)]
    shuffled_tokenizer(folder / "v8", other)
    return bundle(folder / "v8", other, 8, reference=rows), bundle(folder / "v9", base, 9, reference=rows)


def link(name: Path, folder: Path) -> Path:
    """Let a name stand for another folder from one moment to the next."""
    following = name.with_name("following")
    following.symlink_to(folder)
    return following.rename(name)


def told(url: str, *parts: str, contains: str, seconds: float = 60) -> None:
    """Wait until `/readyz` says why a bundle was not taken up; the service is ready all the time."""
    until = time.monotonic() + seconds
    while True:
        body = httpx.get(f"{url}/readyz", timeout=30).json()
        assert body["status"] == "ready", body
        part = body
        for name in (*parts, "scorer"):
            part = part[name]
        if contains in part.get("reason", ""):
            return
        assert time.monotonic() < until, body
        time.sleep(0.5)


@dataclass
class Stream:
    """Shoppers that search without a pause, each time for something new."""

    url: str
    statuses: Counter[int] = field(default_factory=Counter)
    models: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def search(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._over.is_set():
                body = {"query": f"case {next(self._numbers)}", "products": ["case", "pan"], "locale": "en"}
                began = time.monotonic()
                answer = client.post("/v1/relevance", json=body)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.models.append(answer.json()["model"])
                time.sleep(0.02)

    def seen(self, count: int = 60) -> Counter[str]:
        """Which models answer from now on."""
        begin = len(self.models)
        until = time.monotonic() + 60
        while len(self.models) < begin + count:
            assert time.monotonic() < until, self.statuses
            time.sleep(0.05)
        return Counter(self.models[begin:])

    def until(self, what: Callable[[Counter[str]], bool], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not what(seen := self.seen(30)):
            assert time.monotonic() < end, seen

    def __enter__(self) -> Stream:
        self._threads = [threading.Thread(target=self.search) for _ in range(3)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(70)


def config(now: Path, following: Path, shares: dict[str, float], cache: str | None) -> dict[str, Any]:
    told = shipped_config()
    (application,) = told["applications"]
    application["args"] |= {
        "bundle": str(now),
        "also": [str(following)],
        "threads": 1,
        "shared_cache": cache,
    }
    for deployment in application["deployments"]:
        if deployment["name"] == "Ingress":
            deployment["user_config"] = {"shares": shares}
        if deployment["name"] == "Scorer":
            deployment["ray_actor_options"]["num_cpus"] = 1
    return told


def wait_ready(url: str) -> None:
    until = time.monotonic() + 180
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < until, "the application is not ready"
        time.sleep(0.5)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server | None]:
    """The cache that replicas share, where a server is installed."""
    if NAME is None:
        yield None
        return
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_trial_a_larger_share_and_a_swap_cost_no_request(
    tmp_path: Path, base: Path, cache: Server | None
) -> None:
    shared = cache.url if cache else None
    first, second, third = (bundle(tmp_path / f"v{version}", base, version) for version in (1, 2, 3))
    another_tokenizer, another_base = strangers(tmp_path, base)
    now, trial = link(tmp_path / "now", first), link(tmp_path / "trial", second)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ray_cluster(free_port(), tmp_path / "ray.log") as dashboard:
        serve_deploy(dashboard, port, tmp_path, config(now, trial, {}, shared))
        wait_ready(url)
        with Stream(url) as stream:
            assert set(stream.seen()) == {"tiny@1"}
            listed = httpx.get(f"{url}/v1/models", timeout=30).json()["data"]
            assert [one["id"] for one in listed] == ["tiny@1", "tiny@2"]

            # one with another tokenizer: it will not be taken up, which is seen below
            link(now, another_tokenizer)

            # a trial, then all of the queries: only user_config changes
            serve_deploy(dashboard, port, tmp_path, config(now, trial, {str(trial): 0.3}, shared))
            stream.until(lambda seen: "tiny@2" in seen)
            assert set(stream.seen()) == {"tiny@1", "tiny@2"}
            serve_deploy(dashboard, port, tmp_path, config(now, trial, {}, shared))
            stream.until(lambda seen: set(seen) == {"tiny@1"})

            told(url, contains="tiny@8 grades its reference rows otherwise")

            # another bundle under the same name: the replicas take it up by themselves, but not one for another base
            link(now, third)
            link(trial, another_base)
            stream.until(lambda seen: set(seen) == {"tiny@3"})
            told(url, "also", str(trial), contains="tiny@9 grades its reference rows otherwise")
            asked = {"query": "case", "products": ["case"], "model": "tiny@2"}
            assert httpx.post(f"{url}/v1/relevance", json=asked, timeout=30).json()["model"] == "tiny@2"
            listed = httpx.get(f"{url}/v1/models", timeout=30).json()["data"]
            assert [one["id"] for one in listed] == ["tiny@3", "tiny@2"]
        assert set(stream.statuses) == {200}, stream.statuses
        assert sum(stream.statuses.values()) > 200
        assert set(stream.models) == {"tiny@1", "tiny@2", "tiny@3"}
        # Nobody waited for a model to be loaded: a replica that is started anew takes longer than this.
        assert stream.slowest_s < 10
    if cache:  # each model wrote what it computed, under a name of its own
        models = {name.split(b":")[1] for name in cache.client().keys("csrm:*")}
        assert len(models) == 3
