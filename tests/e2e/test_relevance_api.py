"""The relevance API of `csrm serve` with the shipped model: judgments, both shapes, bad input, late and too much."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import httpx
import psutil
import pytest

from csrm.wire import MAX_BODY_BYTES, ErrorResponse, RelevanceResponse

from .conftest import Relevance

# A product that answers the query, and one that answers nothing like it, as each shop writes them.
SEARCHES = {
    "en": ("iphone 15 case", "Silicone case for iPhone 15, black", "Non-stick frying pan 28 cm"),
    "es": ("funda iphone 15", "Funda de silicona para iPhone 15, negra", "Sartén antiadherente 28 cm"),
    "ko": ("아이폰 15 케이스", "아이폰 15 실리콘 케이스 블랙", "논스틱 프라이팬 28cm"),
    "ja": ("iphone 15 ケース", "iPhone 15 シリコンケース ブラック", "フライパン 28cm ノンスティック"),
    "zh-TW": ("iphone 15 手機殼", "iPhone 15 矽膠手機殼 黑色", "不沾平底鍋 28公分"),
}


def ask(api: httpx.Client, **fields: object) -> RelevanceResponse:
    answer = api.post("/v1/relevance", json=fields)
    assert answer.status_code == 200, answer.text
    return RelevanceResponse.model_validate_json(answer.content)


def error(answer: httpx.Response, status: int) -> str:
    """The reason, from the one shape that every error has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return ErrorResponse.model_validate_json(answer.content).error.reason


def test_it_is_ready_and_says_what_it_serves(api: httpx.Client) -> None:
    ready = api.get("/readyz").json()
    assert ready["status"] == "ready"
    (model,) = api.get("/v1/models").json()["data"]
    assert ready["scorer"]["model"] == model["id"]
    assert ready["scorer"]["precision"] in ("fp32", "bf16", "int8")
    assert ready["retriever"]["state"] in ("ready", "unavailable")
    assert api.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("locale", list(SEARCHES))
def test_what_answers_the_query_is_kept_and_what_does_not_is_removed(api: httpx.Client, locale: str) -> None:
    query, wanted, foreign = SEARCHES[locale]
    answer = ask(api, query=query, products=[foreign, wanted], locale=locale)
    unwanted, good = answer.results
    assert (unwanted.index, good.index) == (0, 1)
    assert good.score > unwanted.score
    assert good.irrelevance < answer.threshold <= unwanted.irrelevance
    assert (good.decision, unwanted.decision) == ("keep", "remove")
    for judgment in answer.results:
        grades = judgment.grades
        assert sum((grades.E, grades.S, grades.C, grades.I)) == pytest.approx(1, abs=1e-3)


def scraped(text: str) -> dict[str, float]:
    """Our metrics by name and label, summed over the replicas; of a histogram its count."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        told = re.match(r"ray_(csrm_\w+?)(?:_total|_count)\{(.*)\} (\S+)$", line)
        label = told and re.search(r'\b(?:stage|decision|layers|outcome)="(\w+)"', told[2])
        if told and label:
            name = f"{told[1]}.{label[1]}"
            found[name] = found.get(name, 0) + float(told[3])
    return found


def test_prometheus_finds_the_stages_and_what_became_of_the_products(
    api: httpx.Client, relevance: Relevance
) -> None:
    query, wanted, foreign = SEARCHES["en"]
    new = [f"{wanted} {time.time_ns()}", f"{foreign} {time.time_ns()}"]
    removed = sum(
        one.decision == "remove" for one in ask(api, query=query, products=new, locale="en").results
    )
    ask(api, query=query, products=new, locale="en")  # remembered now
    wanted_metrics = {
        f"csrm_stage_ms.{stage}" for stage in ("queue", "tokenise", "products", "knowledge", "total")
    }
    wanted_metrics |= {"csrm_cache.hit", "csrm_cache.miss", "csrm_depth.all", "csrm_products.keep"}
    wanted_metrics |= {"csrm_products.remove"} if removed else set()
    until = time.monotonic() + 60  # Ray collects every few seconds
    while True:
        text = httpx.get(relevance.metrics_url).text
        found = scraped(text)
        if wanted_metrics <= found.keys() and min(found["csrm_cache.hit"], found["csrm_cache.miss"]) >= 2:
            break
        assert time.monotonic() < until, (wanted_metrics - found.keys(), found)
        time.sleep(1)
    assert found["csrm_products.keep"] + found.get("csrm_products.remove", 0) >= 4  # both products, twice
    engine = re.search(r"ray_csrm_engine\{(.*)\} 1\.0$", text, re.MULTILINE)
    assert engine, "what the replica scores with"
    assert 'engine="lean-gemma3"' in engine[1] and 'fallback="no"' in engine[1]


def test_a_judgment_does_not_depend_on_the_products_beside_it(api: httpx.Client) -> None:
    query, wanted, foreign = SEARCHES["en"]
    others = [f"{foreign}, model {number}, with a lid and a long handle" for number in range(40)]
    alone = ask(api, query=query, products=[wanted], locale="en").results[0]
    among = ask(api, query=query, products=[*others, wanted], locale="en").results[-1]
    assert among.score == pytest.approx(alone.score, abs=0.05)


def test_explain_tells_where_the_time_went(api: httpx.Client) -> None:
    # A product that nobody judged before: what is remembered is not tokenised again.
    answer = ask(api, query="iphone 15 case", products=[f"case {time.time_ns()}"], explain=True)
    assert answer.timings_ms is not None and answer.knowledge is not None
    assert {"knowledge", "queue", "tokenise", "prefix", "products", "total"} <= set(answer.timings_ms)
    assert answer.timings_ms["total"] >= answer.timings_ms["products"]
    if answer.knowledge:
        assert answer.knowledge_version != "none"


def test_what_was_judged_before_is_not_judged_again(api: httpx.Client) -> None:
    products = [f"Silicone case number {number} for iPhone 15" for number in range(20)]
    first = ask(api, query="iphone 15 cover", products=products, locale="en", explain=True)
    again = ask(
        api, query="iphone 15 cover", products=[*products[::-1], "frying pan"], locale="en", explain=True
    )
    last = ask(api, query="iphone 15 cover", products=products, locale="en", explain=True)
    assert [one.grades for one in again.results[:20]] == [one.grades for one in first.results[::-1]]
    assert first.timings_ms and again.timings_ms and last.timings_ms
    assert again.timings_ms["products"] < first.timings_ms["products"]  # one product in place of twenty
    assert "products" not in last.timings_ms and "cache" in last.timings_ms


def test_coheres_shape_ranks_every_document(api: httpx.Client) -> None:
    query, wanted, foreign = SEARCHES["en"]
    body = {"query": query, "documents": [foreign, {"text": wanted}, foreign]}
    answer = api.post("/v2/rerank", json=body).json()
    assert [result["index"] for result in answer["results"]] == [1, 0, 2]
    assert all(isinstance(result["relevance_score"], float) for result in answer["results"])
    first = api.post("/v2/rerank", json={**body, "top_n": 1, "return_documents": True}).json()
    assert [result["document"] for result in first["results"]] == [{"text": wanted}]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"query": "  "}, "query: empty."),
        ({"query": "x" * 10_000}, "query: 10,000 characters, at most 2,000 are allowed."),
        ({"products": []}, "products: empty, at least one is needed."),
        ({"products": ["case"] * 1_001}, "products: 1,001 items, at most 1,000 are allowed."),
        ({"products": ["case", "pan", "lid", " "]}, "products[3]: empty."),
    ],
)
def test_bad_fields_are_named(api: httpx.Client, fields: dict[str, object], reason: str) -> None:
    body = {"query": "case", "products": ["case"], **fields}
    assert error(api.post("/v1/relevance", json=body), 422) == reason


def test_bad_bodies_are_refused(api: httpx.Client) -> None:
    def post(body: bytes) -> httpx.Response:
        return api.post("/v1/relevance", content=body, headers={"Content-Type": "application/json"})

    assert (
        error(post(b'{"query": "caf\xe9", "products": ["a"]}'), 400) == "The body is not UTF-8: encode it so."
    )
    assert error(post(b'{"query": "case", '), 400).startswith("The body is not JSON (")
    assert "bytes" in error(post(b" " * (MAX_BODY_BYTES + 1)), 413)
    assert error(api.get("/v1/relevance"), 405)
    assert error(api.get("/v1/nothing"), 404)


def test_work_stops_at_the_deadline(api: httpx.Client) -> None:
    began = time.monotonic()
    late = api.post(
        "/v1/relevance",
        json={"query": "case", "products": [f"case {n} " * 20 for n in range(1_000)], "deadline_ms": 200},
    )
    assert "deadline" in error(late, 504)
    ask(api, query="case", products=["case"])
    assert time.monotonic() - began < 10  # a thousand long products take far longer


def test_a_partial_answer_is_in_time_and_begins_at_the_top(api: httpx.Client) -> None:
    products = [f"Silicone case number {n} for the iPhone, with a strap" for n in range(1_000)]
    began = time.monotonic()
    answer = ask(
        api,
        query="iphone case",
        products=products,
        deadline_ms=2_000,
        partial=True,
        level="full",
        locale="en",
    )
    assert time.monotonic() - began < 4.5
    assert answer.level == "full"
    assert answer.scored == len(answer.results) and 0 < answer.scored < 1_000
    places = [one.index for one in answer.results]
    assert places == sorted(places) and places[-1] < len(places) + 64


def test_a_small_request_does_not_wait_for_a_large_one(relevance: Relevance, api: httpx.Client) -> None:
    large = {"query": "phone", "products": [f"phone holder {n} for the car" for n in range(1_000)]}
    little = {"query": "lamp", "products": [f"desk lamp {n}" for n in range(10)]}

    async def both() -> tuple[float, float]:
        async with httpx.AsyncClient(base_url=relevance.url, timeout=60) as client:
            began = time.monotonic()
            slow = asyncio.create_task(client.post("/v1/relevance", json=large | {"deadline_ms": 20_000}))
            await asyncio.sleep(0.3)
            small = await client.post("/v1/relevance", json=little)
            assert small.status_code == 200
            took = time.monotonic() - began
            await slow
            return took, time.monotonic() - began

    small_s, large_s = asyncio.run(both())
    assert small_s < 0.75 * large_s  # in the order of arrival it would be after it


def test_too_much_at_once_is_refused_and_passes(relevance: Relevance, api: httpx.Client) -> None:
    """More requests than may wait: some are answered, the rest hear 503 with Retry-After or 504, none hangs."""
    body = {"query": "case", "products": [f"case number {n}" for n in range(100)], "deadline_ms": 10_000}

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=relevance.url, timeout=60) as client:
            return await asyncio.gather(*(client.post("/v1/relevance", json=body) for _ in range(150)))

    answers = asyncio.run(flood())
    statuses = {answer.status_code for answer in answers}
    assert {200, 503} <= statuses <= {200, 503, 504}
    for answer in answers:
        if answer.status_code == 503:
            assert error(answer, 503) and answer.headers["retry-after"] == "1"
    assert api.get("/readyz").status_code == 200
    ask(api, query="case", products=["case"])


def test_nobody_without_the_token_reaches_a_replica(relevance: Relevance) -> None:
    """They listen on every interface, and what they are sent is unpickled."""
    processes = psutil.process_iter(["cmdline"])
    replicas = [one for one in processes if "ServeReplica" in " ".join(one.info["cmdline"] or ())]
    ports = {
        one.laddr.port
        for replica in replicas
        for one in replica.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    refused = 0
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=5)
            refused += caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused >= 3, "an ingress, a scorer and a retriever"


def test_the_ray_dashboard_shows_the_application(relevance: Relevance) -> None:
    ray = Path(sys.executable).with_name("ray")
    token = subprocess.run([ray, "get-auth-token"], capture_output=True, text=True, check=True).stdout.strip()
    address = f"{relevance.dashboard_url}/api/serve/applications/"
    with httpx.Client(timeout=30) as client:
        assert client.get(address).status_code == 401  # nobody without the token
        answer = client.get(address, headers={"Authorization": f"Bearer {token}"})
    application = answer.json()["applications"]["csrm"]
    assert application["status"] == "RUNNING"
    assert set(application["deployments"]) == {"Ingress", "Scorer", "Retriever"}
