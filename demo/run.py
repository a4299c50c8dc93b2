"""The demo from the first server to the last figure: what `make demo` does, in its order.

Ray Serve loads the model while OpenSearch starts and is filled, so the first result does not wait for both.
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil
from opensearchpy import OpenSearch
from rich.console import Console

from csrm.knowledge import dump_entries
from csrm_opensearch.profiles import load_settings
from csrm_opensearch.templates import install_templates
from csrm_opensearch.testing import opensearch_node
from demo import machine, screen
from demo.errors import ServiceError
from demo.figures import Hit, Outcome, report, telling
from demo.search import connect, index_shop, search
from demo.service import BUILD, ROOT, Service
from demo.shop import LOCALES, ShopProduct, ShopQuery, documents, judge, products, queries
from demo.shop.knowledge import knowledge_entries

PROFILES = ROOT / "demo" / "profiles.yaml"
REPORT = BUILD / "report.json"
KNOWLEDGE = BUILD / "knowledge"

_OPENSEARCH_PORT, _SERVE_PORT, _DASHBOARD_PORT, _GATEWAY_PORT = 9200, 8000, 8265, 9280
_SERVE_SECONDS = 300.0
_GATEWAY_SECONDS = 60.0


@dataclass(frozen=True)
class Urls:
    """Where everything answers."""

    opensearch: str
    relevance: str
    gateway: str
    dashboard: str


def start(stack: ExitStack, console: Console) -> Urls:
    """Start everything and fill OpenSearch; what was started ends with ``stack``.

    Raises:
        DemoError: this machine, or a server, cannot do it; the message says what to do.
        csrm_opensearch.testing.errors.NodeError: no OpenSearch can be had.
    """
    machine.check_memory()
    with screen.step(console, "Base weights of the model, the shop's knowledge") as say:
        say("the first time about a minute")
        base = Service("Preparing the base weights", ["base"], BUILD / "base.log")
        stack.callback(base.stop)
        # Meanwhile what the shop knows of queries is embedded; the second time it is there already.
        KNOWLEDGE.parent.mkdir(parents=True, exist_ok=True)
        entries = KNOWLEDGE.with_suffix(".jsonl")
        entries.write_bytes(dump_entries(knowledge_entries()))
        arguments = ["knowledge", "snapshot", str(entries), "--out", str(KNOWLEDGE)]
        knowledge = Service("Embedding the shop's knowledge", arguments, BUILD / "knowledge.log")
        stack.callback(knowledge.stop)
        base.wait_done()
        knowledge.wait_done()
        say("ready in the cache")

    ports = _ports(console)
    serve = Service(
        "Ray Serve",
        [
            "serve",
            *("--port", str(ports["Ray Serve"])),
            *("--dashboard-port", str(ports["the Ray dashboard"])),
            *("--knowledge", str(KNOWLEDGE)),
        ],
        BUILD / "serve.log",
    )
    stack.callback(serve.stop)

    with screen.step(console, "OpenSearch") as say:
        node = stack.enter_context(opensearch_node(port=ports["OpenSearch"], progress=say))
        say(f"{node.version} ({node.kind}) {node.url}")
    urls = Urls(
        opensearch=node.url,
        relevance=f"http://127.0.0.1:{ports['Ray Serve']}",
        gateway=f"http://127.0.0.1:{ports['the gateway']}",
        dashboard=f"http://127.0.0.1:{ports['the Ray dashboard']}",
    )
    arguments = ["--opensearch", urls.opensearch, "--relevance", urls.relevance, "--profiles", str(PROFILES)]
    gateway = Service(
        "The gateway",
        ["gateway", *arguments, "--dashboard-url", urls.dashboard, "--port", str(ports["the gateway"])],
        BUILD / "gateway.log",
    )
    stack.callback(gateway.stop)

    _fill(connect(urls.opensearch), console)
    with screen.step(console, "Relevance model on Ray Serve") as say:
        serve.wait_ready(f"{urls.relevance}/readyz", _SERVE_SECONDS)
        say(urls.relevance)
    with screen.step(console, "Gateway") as say:
        gateway.wait_ready(f"{urls.gateway}/_csrm/readyz", _GATEWAY_SECONDS)
        say(urls.gateway)
    return urls


def measure(urls: Urls, console: Console, most: int | None = None) -> dict[str, Any]:
    """Ask every query directly and through the gateway, print what is telling, and return the report.

    Args:
        most: ask only the first so many queries of each locale; all where null.

    Raises:
        ServiceError: the gateway reranked no query of the first locale.
    """
    direct, gateway = connect(urls.opensearch), connect(urls.gateway)
    window = load_settings(PROFILES).profiles[0].window
    outcomes: list[Outcome] = []
    first_result_s: float | None = None
    for locale in LOCALES:
        asked = queries(locale)[:most]
        answered: list[Outcome] = []
        with screen.counter(console, f"Queries {locale}", len(asked)) as advance:
            for query in asked:
                answered.append(_ask(direct, gateway, query, window))
                advance(1)
                if first_result_s is None and answered[-1].reranked:
                    first_result_s = round(time.time() - psutil.Process().create_time(), 1)
                    console.print(f"  first result after {first_result_s:.0f} s")
        if first_result_s is None:
            raise ServiceError(
                f"The gateway reranked none of {len(answered)} searches (its status: {answered[-1].status}): "
                "look into build/demo/gateway.log and build/demo/serve.log."
            )
        for outcome in telling(answered):
            console.print(screen.side_by_side(outcome), "")
        outcomes += answered
    result = report(outcomes) | {
        "model": _served_model(urls),
        "window": window,
        "first_result_s": first_result_s,
        "machine": machine.describe(),
        "command": "make demo ONCE=1" + (f" QUERIES={most}" if most else ""),
    }
    console.print(screen.figures_table(result), screen.legend(outcomes))
    return result


def save(result: dict[str, Any]) -> None:
    """Write the report to ``build/demo/report.json``."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _served_model(urls: Urls) -> str:
    with urllib.request.urlopen(f"{urls.relevance}/v1/models", timeout=10) as answer:
        return str(json.load(answer)["data"][0]["id"])


def _ports(console: Console) -> dict[str, int]:
    preferred = {
        "OpenSearch": _OPENSEARCH_PORT,
        "Ray Serve": _SERVE_PORT,
        "the Ray dashboard": _DASHBOARD_PORT,
        "the gateway": _GATEWAY_PORT,
    }
    chosen: dict[str, int] = {}
    for what, port in preferred.items():
        chosen[what] = machine.free_port(port, frozenset(chosen.values()))
        if chosen[what] != port:
            console.print(f"[yellow]![/] Port {port} is taken: {what} listens on {chosen[what]}.")
    return chosen


def _fill(client: OpenSearch, console: Console) -> None:
    install_templates(client)
    shop = {locale: documents(locale) for locale in LOCALES}
    with screen.counter(console, "Products indexed", sum(map(len, shop.values()))) as advance:
        for locale, rows in shop.items():
            index_shop(client, locale, rows, advance)


def _ask(direct: OpenSearch, gateway: OpenSearch, query: ShopQuery, window: int) -> Outcome:
    # The whole window is asked for, so that every removed product is known; its first ten are the first page.
    before = search(direct, query.locale, query.text, window)
    after = search(gateway, query.locale, query.text, window)
    return Outcome(
        query=query.text,
        locale=query.locale,
        kind=query.kind,
        held_out=query.held_out,
        before=_graded(query, before.hits),
        after=_graded(query, after.hits),
        direct_ms=before.took_ms,
        gateway_ms=after.took_ms,
        status=after.status,
    )


def _graded(query: ShopQuery, hits: list[dict[str, Any]]) -> list[Hit]:
    shop = products_by_id()
    return [Hit(hit["_id"], hit["_source"]["title"], judge(query, shop[hit["_id"]])) for hit in hits]


@cache
def products_by_id() -> dict[str, ShopProduct]:
    """The shop's products by what OpenSearch calls them."""
    return {product.id: product for product in products()}
