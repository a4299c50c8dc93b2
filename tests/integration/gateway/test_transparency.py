"""What is not reranked comes back as OpenSearch wrote it: status, headers, and every byte."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from opensearchpy import AsyncOpenSearch, NotFoundError, OpenSearch, RequestError, helpers

from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import FOREIGN, SHOP, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.word_service import WordService

GZIP = {"Accept-Encoding": "gzip"}
YAML = {"Accept": "application/yaml"}
NDJSON = {"Content-Type": "application/x-ndjson"}
CASE = {"query": {"match": {"title": "phone case"}}, "size": 3}


@pytest.fixture(scope="module")
def gateway(opensearch: OpenSearchNode, shop: str, _service: WordService) -> Iterator[str]:
    """One for all tests here: none depends on what the gateway remembers."""
    _service.reset()
    with running_gateway(settings(opensearch.url, _service.url)) as url:
        yield url


def same(ours: Answer, theirs: Answer) -> None:
    assert ours.status == theirs.status
    assert ours.lasting == theirs.lasting
    for answer in (ours, theirs):
        answer.headers.pop("csrm-status", None)
        answer.headers.pop("content-length") if b"took" in answer.plain else None
    assert ours.headers == theirs.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("GET", "/", None, None),
        ("HEAD", "/", None, None),
        ("HEAD", f"/{SHOP}", None, None),
        ("HEAD", f"/{SHOP}/_doc/1", None, None),
        ("HEAD", "/no-such-index", None, None),
        ("GET", f"/{SHOP}/_doc/1", None, None),
        ("GET", f"/{SHOP}/_doc/1?pretty", None, None),
        ("GET", f"/{SHOP}/_doc/1", None, GZIP),
        ("GET", f"/{SHOP}/_doc/1", None, YAML),
        ("GET", f"/{SHOP}/_doc/%C3%BC%2F%20%3F", None, None),
        ("GET", f"/{SHOP}/_doc/no-such-id", None, None),
        ("GET", f"/{SHOP}/_mapping", None, None),
        ("GET", f"/{SHOP}/_count?q=phone", None, None),
        ("POST", f"/{SHOP}/_count", {"query": {"match": {"title": "case"}}}, None),
        ("GET", f"/_cat/count/{SHOP}?h=count&v", None, None),
        ("GET", f"/_cat/aliases/{SHOP}?format=yaml", None, None),
        ("GET", "/no-such-index/_search", None, None),
        ("GET", "/no-such-index/_doc/1", None, None),
        ("GET", "/_no_such_api", None, None),
        ("PATCH", f"/{SHOP}", None, None),
        ("DELETE", "/no-such-index", None, None),
        ("OPTIONS", f"/{SHOP}", None, None),
        ("PUT", "/UPPER", None, None),
        ("POST", f"/{FOREIGN}/_search", CASE, None),
        ("POST", f"/{FOREIGN}/_search", CASE, GZIP | {"Content-Type": "application/json"}),
        ("GET", f"/{FOREIGN}/_search?q=title:phone&size=2", None, None),
        ("POST", f"/{FOREIGN}/_search", CASE, {"Content-Type": "text/plain"}),
        ("POST", f"/{FOREIGN},{SHOP}/_search", CASE, None),
        ("POST", f"/{FOREIGN}/_bulk", b'{"index":{"_id":"1"}}\nnot json\n', NDJSON),
        ("POST", "/_bulk", b"", NDJSON),
        ("POST", f"/{FOREIGN}/_msearch", b"{}\n" + json.dumps(CASE).encode() + b"\n", NDJSON),
        ("POST", f"/{SHOP}/_analyze", {"text": "Ünï 東京"}, None),
        ("POST", f"/{SHOP}/_validate/query?explain", {"query": {"match_all": {}}}, None),
        ("POST", f"/{SHOP}/_search?size=0", {"aggs": {"p": {"stats": {"field": "price"}}}}, None),
        ("POST", f"/{SHOP}/_search", {"query": {"match_all": {}}}, None),
        ("POST", f"/{SHOP}/_search", {"query": {"no_such_query": {}}}, None),
        ("POST", f"/{SHOP}/_search", {**CASE, "sort": ["price"], "search_after": [7]}, None),
        ("POST", f"/{SHOP}/_search?scroll=1m", {**CASE, "slice": {"id": 0, "max": 1_000}, "size": 0}, None),
        (
            "POST",
            f"/{SHOP}/_search?filter_path=hits",
            CASE,
            {"Content-Type": "application/json", "Accept": "application/cbor"},
        ),
        (
            "POST",
            f"/{SHOP}/_search?filter_path=hits",
            CASE,
            {"Content-Type": "application/json", "Accept": "application/smile"},
        ),
        (
            "POST",
            f"/{SHOP}/_search?filter_path=hits",
            b"\xbf\x64size\x02\xff",
            {"Content-Type": "application/cbor"},
        ),
        ("POST", f"/{SHOP}/_search", b"---\nsize: 2\n", {"Content-Type": "application/yaml"}),
        ("POST", f"/{SHOP}/_search?filter_path=hits.hits._id", CASE, None),
        ("POST", f"/{SHOP}/_search", CASE, YAML | {"Content-Type": "application/json"}),
        ("POST", f"/{SHOP}/_search?format=yaml", CASE, None),
        ("POST", f"/{SHOP}/_search?size=abc", CASE, None),
        ("POST", f"/{SHOP}/_search?no_such_parameter=1", CASE, None),
        ("POST", f"/{SHOP}/_search", b'{"query": ', None),
        ("POST", f"/{SHOP}/_search", b'{"query": {"match": {"title": "\xff\xfe"}}}', None),
        ("POST", f"/{SHOP}/_search", b"\x00\x01", {"Content-Type": "application/cbor"}),
        ("POST", f"/{SHOP}/_search", {"query": {"match": {"title": "   "}}}, None),
        ("POST", f"/{SHOP}/_search", {"query": {"match": {"title": "phone " * 1_700}}}, None),
        ("POST", f"/{SHOP}/_search", {"query": {"query_string": {"query": "title:(phone AND case)"}}}, None),
        ("POST", f"/{SHOP}/_search/template", {"source": CASE, "params": {}}, None),
        ("POST", f"/{SHOP}/_msearch", b"{}\nnot json\n", NDJSON),
        ("POST", f"/{SHOP}/_msearch", b"{}\n{}", NDJSON),
        ("POST", f"/{SHOP}/_msearch", b'{}\n{"size":0}\n', NDJSON),
    ],
)
def test_the_same_bytes(
    opensearch: OpenSearchNode,
    gateway: str,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str] | None,
) -> None:
    same(call(gateway, method, path, body, headers), call(opensearch.url, method, path, body, headers))


@pytest.mark.parametrize(
    ("body", "query_string", "reason"),
    [
        ({"query": {"match": {"title": "  "}}}, "", "blank-query"),
        ({"query": {"match": {"title": "x" * 10_000}}}, "", "query-too-long"),
        ({"query": {"match_all": {}}}, "", "no-query-text"),
        (b'{"query": ', "", "body-not-json"),
        (CASE, "?scroll=1m", "scroll"),
        (CASE, "?size=0", "size-0"),
        ({**CASE, "query": {"match": {"title": "nothing has these"}}}, "", "no-hits"),
    ],
)
def test_the_header_says_why(gateway: str, body: Any, query_string: str, reason: str) -> None:
    assert call(gateway, "POST", f"/{SHOP}/_search{query_string}", body).csrm == f"skipped; reason={reason}"


def test_other_indices_get_no_header(gateway: str) -> None:
    assert call(gateway, "POST", f"/{FOREIGN}/_search", CASE).csrm == ""
    assert call(gateway, "POST", "/_search", CASE).csrm == ""


def test_chunked_and_large_bodies_stream_through(
    gateway: str, opensearch: OpenSearchNode, index_name: str
) -> None:
    lines = [
        b'{"index":{"_index":"%s","_id":"%d"}}\n{"t":"%s"}\n' % (index_name.encode(), n, b"x" * 5_000)
        for n in range(800)
    ]
    answer = call(
        gateway,
        "POST",
        "/_bulk?refresh=true",
        iter(lines),
        NDJSON | {"Transfer-Encoding": "chunked"},
        chunked=True,
    )
    assert answer.status == 200 and not answer.json["errors"]
    whole = b"".join(lines)
    assert not call(gateway, "POST", "/_bulk?refresh=true", whole, NDJSON).json["errors"]
    assert call(opensearch.url, "GET", f"/{index_name}/_count").json["count"] == 800
    page = f"/{index_name}/_search?size=800&sort=_doc"
    same(call(gateway, "GET", page), call(opensearch.url, "GET", page))


def test_a_search_too_large_to_read_streams_through(gateway: str, opensearch: OpenSearchNode) -> None:
    body = json.dumps(CASE).encode()[:-1] + b" " * (17 * 1024 * 1024) + b"}"
    for path, sent in ((f"/{SHOP}/_search", body), (f"/{SHOP}/_msearch", b"{}\n" + body + b"\n")):
        ours, theirs = (call(url, "POST", path, sent, NDJSON) for url in (gateway, opensearch.url))
        assert (ours.status, ours.csrm) == (200, "skipped; reason=body-too-large")
        assert ours.lasting == theirs.lasting


def test_a_packed_request_body_is_read(gateway: str) -> None:
    packed = gzip.compress(json.dumps(CASE).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert call(gateway, "POST", f"/{SHOP}/_search", packed, headers).csrm.startswith("reranked")


def test_a_reranked_page_is_packed_where_the_client_takes_it(gateway: str) -> None:
    plain = call(gateway, "POST", f"/{SHOP}/_search", {**CASE, "size": 20})
    packed = call(
        gateway, "POST", f"/{SHOP}/_search", {**CASE, "size": 20}, GZIP | {"Content-Type": "application/json"}
    )
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json["hits"] == plain.json["hits"]


def test_opensearch_py_works_through_the_gateway(gateway: str, index_name: str) -> None:
    with OpenSearch(gateway, http_compress=True) as client:
        assert client.ping()
        client.indices.create(index=index_name)
        assert client.indices.exists(index=index_name)
        assert helpers.bulk(client, ({"_index": index_name, "n": n} for n in range(30)), refresh=True) == (
            30,
            [],
        )
        assert client.count(index=index_name)["count"] == 30
        assert len(list(helpers.scan(client, index=index_name, size=7))) == 30
        pit = client.create_pit(index=index_name, params={"keep_alive": "1m"})
        pages = client.search(
            body={"pit": {"id": pit["pit_id"]}, "sort": [{"n": "asc"}], "search_after": [19]}
        )
        assert [hit["_source"]["n"] for hit in pages["hits"]["hits"]] == list(range(20, 30))
        client.delete_pit(body={"pit_id": [pit["pit_id"]]})
        with pytest.raises(NotFoundError):
            client.get(index=index_name, id="absent")
        with pytest.raises(RequestError, match="no_such_query"):
            client.search(index=SHOP, body={"query": {"no_such_query": {}}})
        found = client.search(index=SHOP, body=CASE)
        assert all("junk" not in hit["_source"]["title"] for hit in found["hits"]["hits"])


async def test_the_async_client_works_through_the_gateway(gateway: str) -> None:
    async with AsyncOpenSearch(gateway) as client:
        assert await client.ping()
        found = await client.search(index=SHOP, body=CASE)
        assert len(found["hits"]["hits"]) == 3
        assert all("junk" not in hit["_source"]["title"] for hit in found["hits"]["hits"])
        many = await client.msearch(body=[{"index": SHOP}, CASE, {"index": FOREIGN}, CASE])
        assert [re.search(r"junk \d", json.dumps(answer)) is None for answer in many["responses"]] == [
            True,
            False,
        ]


@pytest.mark.parametrize("indices", ["", f"/{FOREIGN}", "/_all", "/*", f"/{SHOP},{FOREIGN}"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_search_tells_the_gateway_never_reaches_opensearch(
    gateway: str, opensearch: OpenSearchNode, indices: str, packed: bool
) -> None:
    told = CASE | {"ext": {"csrm": {"query": "phone case"}}}
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if packed else {})
    body = json.dumps(told).encode()
    answer = call(gateway, "POST", f"{indices}/_search", gzip.compress(body) if packed else body, headers)
    assert answer.status == 200, answer.body
    assert answer.csrm == "skipped; reason=no-profile"
    assert answer.lasting == call(opensearch.url, "POST", f"{indices}/_search", CASE).lasting
