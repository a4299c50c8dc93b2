"""The relevance service on real HTTP without Ray: its own API, queue and error table around a model of words."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn

from csrm_serve.access import Keys
from csrm_serve.api import create_api
from csrm_serve.models import Models
from csrm_serve.scoring_queue import ScoringQueue
from csrm_serve.service import RelevanceService
from tests.unit.csrm_serve.conftest import OneFact, QueueScorer, WordModel

API_KEY = "a-key-that-must-not-be-shown"


@dataclass
class Serving:
    """The running service, its knobs, and what it was asked.

    Attributes:
        model: set ``seconds_each`` to make it slow.
        scorers: by the model's name; set a ``failure`` to take one down.
        key: when set, a request without it as bearer token is refused, as a proxy before the service would.
        asked: the rerank requests, oldest first.
        judged: the relevance requests, oldest first.
    """

    url: str
    model: WordModel
    scorers: dict[str, QueueScorer]
    key: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    judged: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        self.model.seconds_each = 0.0
        self.key = None
        self.asked.clear()
        self.judged.clear()


@contextmanager
def serving(keys: Keys | None = None, names: Sequence[str] = ("words@1",)) -> Iterator[Serving]:
    """Run the service in a thread of its own, on a free port of 127.0.0.1.

    Args:
        keys: those that it asks for.
        names: of its models, the first of which is the served ``model``; all judge alike.
    """
    models = {name: WordModel() for name in names}
    for name, one in models.items():
        one.name = name
    scorers = {name: QueueScorer(ScoringQueue(one)) for name, one in models.items()}
    api = create_api(
        Models(
            {
                name: RelevanceService(scorer, OneFact(), default_deadline_ms=5_000, knowledge_budget_ms=100)
                for name, scorer in scorers.items()
            }
        ),
        keys=keys,
    )
    served = Serving("", models[names[0]], scorers)

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await api(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if served.key and headers.get(b"authorization") != f"Bearer {served.key}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b'{"error": "no such key"}'})
            return

        body = bytearray()

        async def heard() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body"):
                requests = {"/v2/rerank": served.asked, "/v1/relevance": served.judged}
                requests.get(scope["path"], []).append(orjson.loads(body or b"null"))
            return message

        await api(scope, heard, send)

    server = uvicorn.Server(uvicorn.Config(guarded, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive(), "the test's relevance service did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    served.url = f"http://127.0.0.1:{port}"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(10)
