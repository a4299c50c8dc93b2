"""What the gateway's benchmarks run on: an OpenSearch node with products in it, and proxies before it as processes.

Knows how each is started and stopped; measures nothing.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from opensearchpy import OpenSearch, helpers

from demo.machine import free_port
from demo.shop.products import products
from demo.shop.queries import queries

CSRM = Path(sys.executable).with_name("csrm")
PLAIN = "bench-plain"
"""20,000 products of 2 kB, on which no profile stands."""
LARGE = "bench-shop-large"
"""The same, with a profile."""
SHOP = "bench-shop-en"
"""The demo shop's English products, with a profile."""
BULK = "bench-bulk"

_WORDS = (
    "phone case cover charger cable red blue black white soft hard slim wood steel glass clear new pro max"
)
_LARGE = 20_000


@dataclass(frozen=True)
class Proxy:
    """A process before OpenSearch. ``records``: a line of JSON for each search of the gateway's."""

    url: str
    process: psutil.Process
    records: Path | None = None

    def workers(self) -> list[psutil.Process]:
        """The processes that serve: the children where there are several."""
        return self.process.children() or [self.process]

    def memory_mb(self) -> list[float]:
        """Resident memory of each of them."""
        return [round(worker.memory_info().rss / 1e6, 1) for worker in self.workers()]


def shop_queries() -> list[str]:
    """What shoppers type in the demo shop, in English."""
    return [query.text for query in queries("en")]


def fill(url: str, *, large: int = _LARGE) -> None:
    """Make the indices."""
    chance = random.Random(7)
    mapping = {
        "properties": {"title": {"type": "text"}, "price": {"type": "float"}, "about": {"type": "text"}}
    }
    with OpenSearch(url, timeout=120) as client:
        for name in (PLAIN, LARGE, SHOP, BULK):
            client.indices.delete(index=name, ignore_unavailable=True)
            body = {"settings": {"index": {"number_of_shards": 1, "number_of_replicas": 0}}}
            client.indices.create(index=name, body=body | ({"mappings": mapping} if name != BULK else {}))
        rows = [_product(number, chance) for number in range(large)]
        for name in (PLAIN, LARGE):
            helpers.bulk(
                client, ({"_index": name, "_id": n, **row} for n, row in enumerate(rows)), timeout=120
            )
        titles = (product.titles["en"] for product in products())
        helpers.bulk(client, ({"_index": SHOP, "_id": n, "title": title} for n, title in enumerate(titles)))
        client.indices.refresh(index="bench-*")
        client.indices.forcemerge(index=f"{PLAIN},{LARGE},{SHOP}", max_num_segments=1)


def _product(number: int, chance: random.Random) -> dict[str, Any]:
    title = " ".join(chance.sample(_WORDS.split(), 8))
    about = " ".join(chance.choices(_WORDS.split(), k=370))
    return {"title": f"{title} {number}", "price": number / 100, "about": about}


@contextmanager
def gateway(
    opensearch: str, relevance: str, *, workers: int = 1, time_budget_ms: float = 20_000
) -> Iterator[Proxy]:
    """``csrm gateway`` as a user runs it.

    Args:
        opensearch: URLs of nodes, separated by commas.
        relevance: URL of the relevance service.
        workers: how many processes serve.
        time_budget_ms: of each search.
    """
    with tempfile.TemporaryDirectory(prefix="csrm-bench-") as folder:
        records, profiles = Path(folder, "searches.jsonl"), Path(folder, "profiles.yaml")
        profile = {"indices": ["bench-shop-*"], "time_budget_ms": time_budget_ms, "locale": "en"}
        told = {
            "opensearch": {"urls": opensearch.split(",")},
            "relevance": {"url": relevance, "breaker": {"cooldown_ms": 500}},
            "records": {"file": str(records)},
            "profiles": [
                {"name": "large", "text_fields": ["title", "about"]} | profile | {"indices": [LARGE]},
                {"name": "shop", "text_fields": ["title"]} | profile,
            ],
        }
        profiles.write_text(yaml.safe_dump(told))
        command = [
            str(CSRM),
            "gateway",
            "--profiles",
            str(profiles),
            "--port",
            "0",
            "--workers",
            str(workers),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                words = process.stdout.readline().split()
                if words[:1] != ["gateway"]:
                    raise RuntimeError("The gateway did not start: what it says stands above.")
                yield Proxy(words[1], psutil.Process(process.pid), records)
            finally:
                process.terminate()


@contextmanager
def nginx(opensearch: str) -> Iterator[Proxy | None]:
    """nginx as a plain reverse proxy, with kept connections to OpenSearch; null where there is none."""
    command = shutil.which("nginx", path=f"{Path('/usr/sbin')}:{Path('/usr/bin')}:{Path('/usr/local/bin')}")
    if command is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="csrm-bench-") as folder:
        port = free_port(9381)
        config = Path(folder, "nginx.conf")
        temporary = " ".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log off; {temporary}\n"
            f"  upstream node {{ server {opensearch.removeprefix('http://')}; keepalive 64; }}\n"
            f"  server {{ listen 127.0.0.1:{port}; client_max_body_size 0; proxy_request_buffering off;"
            " keepalive_requests 10000000;\n"
            "    location / { proxy_pass http://node; proxy_http_version 1.1;"
            ' proxy_set_header Connection ""; } } }\n'
        )
        with subprocess.Popen(
            [command, "-c", str(config), "-e", f"{folder}/error.log"], stderr=subprocess.PIPE
        ) as process:
            try:
                yield Proxy(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
            finally:
                process.terminate()


def recorded(proxy: Proxy, after: int = 0) -> list[dict[str, Any]]:
    """The gateway's records of its searches, without the first few."""
    assert proxy.records is not None
    return [json.loads(line) for line in proxy.records.read_text().splitlines()[after:]]
