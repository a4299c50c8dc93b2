"""/healthz, /readyz and /v1/models: what is up, what is not, and why."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fastapi.testclient import TestClient

from csrm_serve import deployments, metrics, service
from csrm_serve.api import create_api
from csrm_serve.deployments import Scorer
from csrm_serve.errors import NotReadyError
from csrm_serve.messages import PartState
from csrm_serve.models import Models
from csrm_serve.service import RelevanceService
from csrm_serve.settings import ServeSettings
from tests.unit.csrm.conftest import save_base
from tests.unit.csrm.scoring.test_load import wrong

from .conftest import OneFact, QueueScorer, WordModel


def test_healthy_means_the_process_answers(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = NotReadyError("The weights are being read.")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_not_ready_before_a_scorer_is_and_says_why(client: TestClient, scorer: QueueScorer) -> None:
    scorer.failure = NotReadyError("The weights are being read.")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    body = answer.json()
    assert body["error"] == {"type": "not_ready", "reason": "The weights are being read."}
    assert body["scorer"] == {"state": "unavailable", "reason": "The weights are being read."}
    assert client.get("/v1/models").status_code == 503


def test_ready_with_a_scorer(client: TestClient) -> None:
    body = client.get("/readyz").json()
    assert body == {
        "status": "ready",
        "scorer": {"state": "ready", "model": "words@1", "engine": "words", "precision": "exact"},
        "retriever": {"state": "ready"},
    }


def test_a_broken_retriever_is_told_and_no_outage(client: TestClient, retriever: OneFact) -> None:
    retriever.failure = RuntimeError("The snapshot is broken.")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["retriever"] == {"state": "unavailable", "reason": "The snapshot is broken."}


def test_a_scorer_that_has_just_answered_is_not_asked_again(client: TestClient, scorer: QueueScorer) -> None:
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/relevance", json={"query": "a", "products": ["a"]}).status_code == 200
    scorer.failure = NotReadyError("Too busy to say.")
    assert client.get("/readyz").status_code == 200


def test_a_scorer_that_is_never_idle_is_heard_all_the_same(
    client: TestClient, scorer: QueueScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of a bundle that it did not take up is told while queries are answered, and nobody waits for it."""
    monkeypatch.setattr(service, "PROOF_OF_LIFE_S", 1.0)
    search = {"query": "a", "products": ["a"]}
    assert "reason" not in client.get("/readyz").json()["scorer"]

    async def state() -> PartState:
        await asyncio.sleep(0.5)
        return PartState(True, "The bundle is not taken up.", scorer.queue.describe())

    monkeypatch.setattr(scorer, "state", state)
    until = time.monotonic() + 30
    waited = []
    while True:
        assert client.post("/v1/relevance", json=search).status_code == 200
        asked = time.monotonic()
        told = client.get("/readyz").json()
        waited.append(time.monotonic() - asked)
        assert told["status"] == "ready" and asked < until
        if "reason" in told["scorer"]:
            break
    assert told["scorer"]["reason"] == "The bundle is not taken up."
    assert min(waited) < 0.5


def test_models_lists_the_served_bundle(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["words@1"]


def test_a_model_that_runs_slower_than_it_could_says_why(client: TestClient, model: WordModel) -> None:
    model.warning = "The lean engine differs from transformers: the latter is used."
    assert client.get("/readyz").json()["scorer"]["warning"] == model.warning


def test_a_lean_pass_that_fails_its_check_is_said_by_log_metric_and_readyz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A real model whose lean pass computes something else, in the deployment itself; only Ray is not there."""
    save_base("gemma3", tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps({"name": "tiny", "version": 1, "base": str(tmp_path)}))
    gauges: dict[tuple[str, ...], float] = {}

    def set_gauge(gauge: metrics.Gauge, value: float, tags: dict[str, str]) -> None:
        gauges[tags["engine"], tags["precision"], tags["fallback"]] = value

    monkeypatch.setattr(metrics.Gauge, "set", set_gauge)
    nothing = SimpleNamespace(get_assigned_resources=dict)
    monkeypatch.setattr(deployments.ray, "get_runtime_context", lambda: nothing)
    settings = ServeSettings(bundle=str(tmp_path), precision="fp32", threads=1)
    Scorer(settings)
    assert gauges == {("lean-gemma3", "fp32", "no"): 1}
    gauges.clear()
    caplog.clear()
    wrong(monkeypatch, {torch.float32})
    scorer = Scorer(settings)
    assert gauges == {("transformers", "fp32", "yes"): 1}
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    told = "the lean pass in fp32 differs by "
    assert logged and all(told in line and "transformers in fp32 is used" in line for line in logged)
    tiny = RelevanceService(scorer, OneFact(), default_deadline_ms=5_000, knowledge_budget_ms=100)
    with TestClient(create_api(Models({"tiny": tiny}))) as client:
        said = client.get("/readyz").json()
        answer = client.post("/v1/relevance", json={"query": "case", "products": ["case"]})
    assert answer.status_code == 200 and answer.json()["model"] == "tiny@1"
    assert said["status"] == "ready", "slower, but it answers"
    assert said["scorer"]["engine"] == "transformers"
    assert said["scorer"]["warning"] in logged
