"""Random and mutated search bodies: the gateway reads them or leaves them alone, and OpenSearch's answer stays its own.

    python -m benchmarks.gateway_fuzz [--bodies 50000] [--seed 1] [--json FILE]

First the reader alone gets all of them, then a real node gets each directly and through the gateway, with a relevance
service that refuses to judge, so that the answers have to be the same to the byte (but for the time they took); those
that speak to the gateway (`ext.csrm`) must not make it fail. Bodies
are searches with parts changed, left out, doubled or put elsewhere, and bytes flipped, cut and inserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import publish
from benchmarks.gateway_faults import INDEX, fill
from benchmarks.gateway_stage import gateway
from benchmarks.http_load import Connection, http_request
from csrm_opensearch.errors import RequestOptionsError
from csrm_opensearch.profiles import Profile
from csrm_opensearch.search_request import Params, Search, read_search, without_options
from csrm_opensearch.testing import opensearch_node
from tests.integration.gateway.word_service import word_service

SEEDS: list[Any] = [
    {"query": {"match": {"title": "phone case"}}},
    {"query": {"match": {"title": {"query": "phone", "fuzziness": "AUTO"}}}, "from": 3, "size": 4},
    {"query": {"multi_match": {"query": "good case", "fields": ["title^2"]}}, "_source": ["title"]},
    {"query": {"bool": {"must": [{"match": {"title": "case"}}], "filter": {"range": {"n": {"gte": 2}}}}}},
    {"query": {"bool": {"should": [{"match": {"title": "a"}}, {"match": {"title": "b"}}]}}, "sort": ["_score"]},
    {"query": {"query_string": {"query": "title:phone AND good"}}, "track_total_hits": False},
    {"query": {"simple_query_string": {"query": "phone +case", "fields": ["title"]}}, "min_score": 0.01},
    {"query": {"dis_max": {"queries": [{"match": {"title": "phone"}}, {"match_all": {}}]}}, "size": 0},
    {"query": {"function_score": {"query": {"match": {"title": "phone"}}, "boost": 2}}, "explain": True},
    {"query": {"constant_score": {"filter": {"match": {"title": "phone"}}}}, "fields": ["title"]},
    {"query": {"match_phrase": {"title": "phone case"}}, "highlight": {"fields": {"title": {}}}},
    {"query": {"match_all": {}}, "aggs": {"t": {"terms": {"field": "n"}}}, "collapse": {"field": "n"}},
    {"query": {"match": {"title": "phone"}}, "ext": {"csrm": {"threshold": 0.5, "window": 20, "query": "phone"}}},
    {"query": {"match": {"title": "phone"}}, "ext": {"csrm": {"mode": "off", "locale": "en", "explain": False}}},
    {"query": {"match": {"title": "phone"}}, "rescore": {"window_size": 5, "query": {"rescore_query": {}}}},
    {"query": {"nested": {"path": "v", "query": {"match": {"v.t": "x"}}}}, "search_after": [1], "slice": None},
    [], "text", 7, None, {},
]  # fmt: skip
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    " ",
    "phone",
    "\ud800",
    [],
    {},
    [[]],
    {"query": {}},
    "9" * 400,
]
PATHS = (
    "_search",
    "_search",
    "_search?size=3",
    "_search?q=phone",
    "_search?from=x",
    "_msearch",
    "_search?pretty",
)
_UNSTEADY = re.compile(rb'("?took"?\s?:\s?)\d+')
_LANES = 8


@dataclass
class Found:
    """What the bodies did."""

    bodies: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {
            "bodies": self.bodies,
            "outcomes": dict(self.outcomes.most_common()),
            "faults": len(self.faults),
            "examples": self.faults[:10],
        }


def bodies(count: int, seed: int) -> Iterator[bytes]:
    """So many bodies, the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        value = json.loads(json.dumps(chance.choice(SEEDS)))
        for _ in range(chance.randrange(4)):
            value = _changed(value, chance)
        body = json.dumps(value).encode("utf-8", "surrogatepass")
        yield _scrambled(body, chance) if chance.random() < 0.3 else body


def _changed(value: Any, chance: random.Random) -> Any:
    """A value with one of its parts changed."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        match chance.randrange(6):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return value | {
                    chance.choice(["query", "ext", "size", "from", "title", "csrm", "é"]): value[key]
                }
            case _:
                return value | {key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], _changed(value[place], chance), *value[place:]]
    match chance.randrange(4):
        case 0:
            return chance.choice(SEEDS)
        case 1:
            return {chance.choice(["query", "match", "bool", "must", "csrm", "title"]): value}
        case 2 if chance.random() < 0.05:
            deep: Any = value
            for _ in range(chance.choice([20, 200, 2_000])):
                deep = {"bool": {"must": [deep]}}
            return json.loads(json.dumps(deep)) if _shallow(deep) else value
        case _:
            return chance.choice(ODD)


def _shallow(value: Any) -> bool:
    try:
        json.dumps(value)
    except RecursionError:
        return False
    return True


def _scrambled(body: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(body) + 1)
    noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 4)))
    match chance.randrange(5):
        case 0:
            return body[:place]
        case 1:
            return body[:place] + noise + body[place:]
        case 2:
            return body[:place] + noise + body[place + len(noise) :]
        case 3:
            return b"[" * 5_000 + body
        case _:
            return body + chance.choice([b" ", b"\n", b"{}", b"\x00", b"\xef\xbb\xbf"])


def read_all(count: int, seed: int) -> Found:
    """Give the bodies to the reader alone."""
    profile = Profile(name="shop", indices=[INDEX], text_fields=["title"])
    found = Found()
    for body in bodies(count, seed):
        found.bodies += 1
        try:
            search = read_search(body, Params(b""), profile).search
            if isinstance(search, Search):
                search.window_body()
                search.more_body(100, 10)
            without_options(body)
            found.outcomes[getattr(search, "reason", "read")] += 1
        except RequestOptionsError:
            found.outcomes["refused"] += 1
        except Exception as error:
            found.faults.append(f"{error!r}: {body[:500]!r}")
    return found


async def send_all(node: str, proxy: str, count: int, seed: int) -> Found:
    """Give the bodies to OpenSearch directly and through the gateway, and compare."""
    found, source = Found(), enumerate(bodies(count, seed))
    chance = random.Random(seed)

    async def lane() -> None:
        ways = {url: await _connected(url) for url in (node, proxy)}
        for number, body in source:
            path = chance.choice(PATHS)
            if path == "_msearch":
                body = b"{}\n" + body.replace(b"\n", b" ") + b"\n"
            request = http_request("POST", f"/{INDEX}/{path}", body)
            answers = []
            for url in ways:
                try:
                    answers.append(await ways[url].ask(request))
                except OSError as error:
                    found.faults.append(f"{url} hung up ({error}): {path} {body[:500]!r}")
                    ways[url] = await _connected(url)
            found.bodies += 1
            if len(answers) == 2:
                _compare(found, f"{number}: {path} {body[:500]!r}", body, *answers)
        for connection in ways.values():
            connection.close()

    await asyncio.gather(*(lane() for _ in range(_LANES)))
    return found


def _compare(
    found: Found, name: str, body: bytes, theirs: tuple[int, bytes], ours: tuple[int, bytes]
) -> None:
    if b"csrm" in body:  # said to the gateway; OpenSearch itself knows no such thing
        found.outcomes[f"{ours[0]} to what is said to the gateway"] += 1
        if ours[0] >= 500 and (b'"root_cause"' not in ours[1] or b"opensearch_" in ours[1]):
            found.faults.append(f"{name}: {ours!r:.500}")
        return
    found.outcomes[f"{ours[0]} of OpenSearch's"] += 1
    plain = [(status, _UNSTEADY.sub(rb"\g<1>0", answer)) for status, answer in (theirs, ours)]
    if plain[0] != plain[1]:
        found.faults.append(f"{name}: {plain[0]!r:.500} / {plain[1]!r:.500}")


async def _connected(url: str) -> Connection:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, address.hostname, address.port or 80))[1]


def fuzz(node: str, count: int, seed: int) -> tuple[Found, Found]:
    """What the reader did, and what the gateway did."""
    fill(node)
    with word_service() as service:
        service.how = "refuses"
        with gateway(node, service.url) as proxy:
            return read_all(count, seed), asyncio.run(send_all(node, proxy.url, count, seed))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bodies", type=int, default=50_000, help="How many.")
    parser.add_argument("--seed", type=int, default=1, help="Of the chance that makes them.")
    parser.add_argument("--json", type=Path, help="Write the report there too.")
    told = parser.parse_args()
    with opensearch_node() as node:
        reader, proxy = fuzz(node.url, told.bodies, told.seed)
    publish({"reader": reader.figures(), "gateway": proxy.figures()}, told.json)
    return 1 if reader.faults or proxy.faults else 0


if __name__ == "__main__":
    sys.exit(main())
