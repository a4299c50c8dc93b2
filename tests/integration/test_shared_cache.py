"""The cache that replicas share, on a real Valkey or Redis server: what it saves, and that it costs nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from csrm_serve import shared_cache
from csrm_serve.errors import StartError
from csrm_serve.live_model import LiveModel
from csrm_serve.messages import Scored, ScoringJob
from csrm_serve.settings import ServeSettings
from csrm_serve.shared_cache import SharedCache
from tests.integration.cache_server import NAME, Server
from tests.unit.csrm.conftest import save_base

pytestmark = pytest.mark.skipif(NAME is None, reason="no valkey-server or redis-server: make cache-server")

HASTY_MS = 200.0
"""The limit of a look-up here: a busy machine keeps it, and a server that hangs is told from one that answers."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny random base."""
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("bundle")
    save_base("gemma3", base)
    (folder / "bundle.json").write_text(json.dumps({"name": "tiny", "version": 1, "base": str(base)}))
    return folder


@dataclass
class Replica:
    live: LiveModel
    shared: SharedCache
    counted: Counter[str] = field(default_factory=Counter)

    async def judge(self, one: ScoringJob) -> Scored:
        scored = await self.live.judge(one)
        assert len(scored.results) == len(one.products)
        return scored

    async def written(self, products: int) -> None:
        until = time.monotonic() + 10
        while self.counted["written"] < products:
            assert time.monotonic() < until, self.counted
            await asyncio.sleep(0.01)


def replica(bundle: Path, url: str, **more: Any) -> Replica:
    counted: Counter[str] = Counter()

    def count(outcome: str, products: int) -> None:
        if products:
            counted[outcome] += products

    shared = SharedCache(url, **({"ttl_s": 600, "timeout_ms": HASTY_MS} | more), count=count)
    settings = ServeSettings(bundle=str(bundle), precision="fp32")
    return Replica(LiveModel(settings, 1, shared=shared), shared, counted)


@pytest.fixture
async def replicas(server: Server, bundle: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    one, other = replica(bundle, server.url), replica(bundle, server.url)
    yield one, other
    await one.shared.close()
    await other.shared.close()


def job(query: str = "case", products: int = 20) -> ScoringJob:
    now = time.time()
    texts = [f"case number {number}" for number in range(products)]
    return ScoringJob(query, texts, "en", ["a note"], None, deadline=now + 60, sent_at=now)


async def test_what_one_replica_computed_another_does_not(replicas: tuple[Replica, Replica]) -> None:
    one, other = replicas
    first = await one.judge(job())
    assert "products" in first.timings_ms
    assert one.counted["miss"] == 20
    await one.written(20)
    again = await other.judge(job())
    assert "products" not in again.timings_ms, "nothing was computed"
    assert again.results == first.results, "to the last digit"
    assert other.counted == {"hit": 20}
    await other.judge(job())
    assert other.counted == {"hit": 20}, "what the replica itself remembers is not looked up"


async def test_another_question_is_never_answered(replicas: tuple[Replica, Replica]) -> None:
    one, other = replicas
    await one.judge(job())
    await one.written(20)
    changes: list[dict[str, Any]] = [
        {"query": "cases"},
        {"locale": "es"},
        {"locale": None},
        {"knowledge": []},
        {"knowledge": ["a", "note"]},
        {"products": ["x"]},
    ]
    for change in changes:
        before = other.counted["miss"]
        await other.judge(replace(job(), **change))
        assert other.counted["hit"] == 0 and other.counted["miss"] > before, change


@pytest.mark.parametrize("change", [{"version": 2}, {"threshold": 0.5}])
async def test_another_bundle_never_answers(
    server: Server, replicas: tuple[Replica, Replica], bundle: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    one, _ = replicas
    await one.judge(job())
    await one.written(20)
    manifest = json.loads((bundle / "bundle.json").read_text()) | change
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps(manifest))
    other = replica(folder, server.url)
    await other.judge(job())
    assert other.counted["hit"] == 0
    await other.shared.close()


async def test_an_entry_is_small_ends_and_can_be_told_from_others(
    server: Server, replicas: tuple[Replica, Replica]
) -> None:
    one, _ = replicas
    await one.judge(job())
    await one.written(20)
    client = server.client()
    names = client.keys("*")
    assert len(names) == 20 and all(name.startswith(b"csrm:") for name in names)
    assert {client.strlen(name) for name in names} == {16}
    assert all(500 < client.ttl(name) <= 600 for name in names)


async def test_what_somebody_else_wrote_is_no_grade(
    server: Server, replicas: tuple[Replica, Replica]
) -> None:
    one, other = replicas
    client = server.client()
    strange = [b"", b"x", b"\xff" * 16, b"\x00" * 16, b"\x00\x00\x80\x3f" * 4, b"x" * 100]
    for number, value in enumerate(strange, 1):
        first = await one.judge(job(f"q{number}"))
        await one.written(20 * number)
        for name in client.keys("*"):
            client.set(name, value)
        assert (await other.judge(job(f"q{number}"))).results == first.results
        assert other.counted["hit"] == 0, value


async def test_a_list_in_place_of_an_entry_is_no_failure_of_the_query(
    server: Server, replicas: tuple[Replica, Replica]
) -> None:
    one, other = replicas
    first = await one.judge(job())
    await one.written(20)
    client = server.client()
    for name in client.keys("*"):
        client.delete(name)
        client.rpush(name, "x")
    assert (await other.judge(job())).results == first.results


async def test_a_server_that_hangs_costs_the_limit_and_is_then_left_alone(
    server: Server,
    replicas: tuple[Replica, Replica],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shared_cache, "REST_S", 0.5)
    one, _ = replicas
    await one.judge(job("before"))
    await one.written(20)
    server.tell(signal.SIGSTOP)
    looked: list[float] = []
    with caplog.at_level(logging.WARNING, logger="ray.serve.csrm"):
        for number in range(shared_cache.FAILURES + 2):
            began = time.monotonic()
            questions = one.live.model.questions(f"q{number}")
            await one.shared.fill(one.live.model.cache, "id", questions, ["a", "b"])
            looked.append(time.monotonic() - began)
    limit = HASTY_MS / 1000
    assert all(limit * 0.9 < spent < limit + 0.3 for spent in looked[: shared_cache.FAILURES])
    assert all(spent < limit / 2 for spent in looked[shared_cache.FAILURES :]), "it is left alone"
    assert one.counted["failed"] == 2 * shared_cache.FAILURES
    assert [record.message for record in caplog.records if "without the shared cache" in record.message]
    await one.judge(job("meanwhile"))
    server.tell(signal.SIGCONT)
    await asyncio.sleep(0.6)
    await one.judge(job("after"))
    await one.written(40)
    assert one.counted["miss"] == 40, "it is asked again"


async def test_a_server_that_is_away_costs_no_answer_and_may_come_later(
    server: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "REST_S", 0.2)
    server.stop()
    one = replica(bundle, server.url)
    for number in range(shared_cache.FAILURES + 1):
        await one.judge(job(f"q{number}"))
    assert 0 < one.counted["failed"] <= 20 * shared_cache.FAILURES, "then it is left alone"
    server.start()
    await asyncio.sleep(0.3)
    await one.judge(job("later"))
    await one.written(20)
    await one.shared.close()


async def test_more_than_can_be_written_is_dropped(
    server: Server, replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "MOST_PENDING", 5)
    one, _ = replicas
    await one.judge(job())
    await one.written(5)
    assert one.counted["dropped"] == 15
    assert len(server.client().keys("*")) == 5


@pytest.mark.parametrize("right", [True, False])
async def test_a_server_with_a_password(tmp_path: Path, bundle: Path, right: bool) -> None:
    server = Server(tmp_path, password="open-sesame")
    file = tmp_path / "password"
    file.write_text("open-sesame\n" if right else "open-barley\n")
    server.start()
    try:
        one = replica(bundle, server.url, password_file=str(file))
        await one.judge(job())
        if right:
            await one.written(20)
        else:
            assert one.counted["failed"] == 20
        await one.shared.close()
    finally:
        server.stop()


async def test_passwords_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name, reason in (("absent", "cannot be read"), ("empty", "is empty")):
        with pytest.raises(StartError, match=f"shared_cache_password_file: .*{name} {reason}"):
            SharedCache("valkey://x", password_file=str(tmp_path / name), ttl_s=1, timeout_ms=1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"shared_cache": "valkey://a", "cache_mb": 0}, "needs cache_mb"),
        ({"shared_cache": "memcached://a"}, "give valkey://"),
        ({"shared_cache": "valkey://"}, "give valkey://"),
        ({"shared_cache": "redis://user:word@a"}, "shared_cache_password_file"),
        ({"shared_cache": "redis://a?password=word"}, "shared_cache_password_file"),
        ({"shared_cache_password_file": "a"}, "needs shared_cache"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ServeSettings.model_validate(settings)
