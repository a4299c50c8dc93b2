"""The way of one search over a list in memory: whatever pages a shopper turns, they are one list cut up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from csrm.wire import Judgment, RelevanceResponse
from csrm_opensearch.errors import RelevanceDownError
from csrm_opensearch.profiles import Profile
from csrm_opensearch.recent import RecentJudgments
from csrm_opensearch.rerank import Done, Reranker
from csrm_opensearch.search_request import Params, Search, read_search
from csrm_opensearch.status import skipped
from tests.unit.csrm_opensearch.judgments import figures, judgment


class Index:
    """Products in lexical order, searched as OpenSearch pages: ``from``, ``size``, and a result window."""

    def __init__(self, texts: Sequence[str], max_result_window: int = 10_000) -> None:
        self.texts = texts
        self.limit = max_result_window

    def search(self, body: bytes) -> bytes | None:
        asked = json.loads(body)
        start, size = asked["from"], asked["size"]
        if start + size > self.limit:
            return None
        hits = [
            {"_index": "shop", "_id": str(rank), "_score": 100.0 - rank}
            | ({"fields": {"title": [text]}} if text and "fields" in asked else {})
            for rank, text in enumerate(self.texts)
        ]
        total = (
            {"total": {"value": len(hits), "relation": "eq"}} if asked.get("track_total_hits", True) else {}
        )
        page = {
            "took": 1,
            "hits": {**total, "max_score": 100.0 if hits else None, "hits": hits[start : start + size]},
        }
        return json.dumps(page).encode()


class Judge:
    """Judges from a table, at most ``most`` products at once; ``down`` while it is told so."""

    def __init__(self, table: dict[str, Judgment], most: int | None = None) -> None:
        self.most = most
        self.table = table
        self.down = False
        self.down_after: int | None = None
        self.asked = 0
        self.levels: list[str | None] = []
        self.models: list[str | None] = []

    async def judge(
        self, query: str, products: Sequence[str], *, model: str | None, level: str | None, **_: Any
    ) -> RelevanceResponse:
        self.asked += 1
        self.models.append(model)
        self.levels.append(level)
        if self.down or (self.down_after is not None and self.asked > self.down_after):
            raise RelevanceDownError("down")
        results = [
            self.table[text].model_copy(update={"index": i}) for i, text in enumerate(products[: self.most])
        ]
        return RelevanceResponse(
            model="table",
            locale=None,
            threshold=0.5,
            knowledge_version="none",
            results=results,
            scored=len(results),
        )


def page(index: Index, reranker: Reranker, profile: Profile, start: int, size: int, **more: Any) -> Done:
    body = {"query": {"match": {"title": "phone case"}}, "from": start, "size": size} | more
    search = read_search(json.dumps(body).encode(), Params(b""), profile).search
    assert isinstance(search, Search)

    async def ask(asked: bytes) -> bytes | None:
        return index.search(asked)

    window = index.search(search.window_body())
    assert window is not None
    return asyncio.run(reranker.page(search, ["shop"], time.monotonic(), window, ask))


def ids(done: Done) -> list[int]:
    assert done.body is not None
    return [int(hit["_id"]) for hit in json.loads(done.body)["hits"]["hits"]]


def shop(tail: str = "show", window: int = 8, **more: Any) -> Profile:
    return Profile.model_validate(
        {"name": "s", "indices": ["shop"], "text_fields": ["title"], "tail": tail, "window": window} | more
    )


products = st.lists(st.tuples(st.booleans(), st.booleans(), figures), max_size=40)


@given(
    products,
    st.integers(1, 12),
    st.lists(st.integers(1, 15), min_size=1, max_size=5),
    st.sampled_from(["show", "hide"]),
    st.none() | st.integers(0, 25),
    st.integers(1, 12),
    st.none() | st.integers(1, 10),
)
def test_pages_are_one_list_cut_up(
    rows: list[tuple[bool, bool, float]],
    window: int,
    sizes: list[int],
    tail: str,
    further: int | None,
    enough: int,
    most: int | None,
) -> None:
    limit = window + (further or 0)
    profile = shop(tail, window, max_window=None if further is None else limit, enough=enough)
    texts = [f"p{rank}" if has_text else "" for rank, (has_text, _, _) in enumerate(rows)]
    table = {
        text: judgment(row[2], row[2], remove=row[1]) for text, row in zip(texts, rows, strict=True) if text
    }
    judge = Judge(table, most)
    index, reranker = Index(texts), Reranker(judge, RecentJudgments())
    if not any(texts[:window]):
        return  # nothing to judge: OpenSearch's own pages
    first = page(index, reranker, profile, 0, len(rows) + 50)
    whole = ids(first)
    judge.most = None  # there would be time now, but page 1 stands
    removed = [rank for rank in range(len(rows)) if rank not in whole]
    assert len(whole) == len(set(whole))
    assert all(
        tail == "hide" or (rank < limit and table[texts[rank]].decision == "remove") for rank in removed
    )
    if first.status.scored is not None:
        assert most is not None and most <= first.status.scored < first.status.window
    if further is not None and tail == "show" and most is None:
        judged = [rank for rank in range(len(rows)) if rank < limit and texts[rank]]
        spared = [rank for rank in judged if table[texts[rank]].decision == "remove" and rank in whole]
        stay = [rank for rank in whole if rank < limit]
        assert len(spared) <= 1 or len(stay) >= enough, "too few stay, and not everything was judged"
    turned, start = whole[: sizes[0]], sizes[0]
    for size in sizes * (len(rows) + 1):
        done = page(index, reranker, profile, start, size)
        body = json.loads(done.body or b"{}")
        assert body["hits"]["total"] == {"value": len(whole), "relation": "eq"}
        turned += ids(done)
        start += size
        if start > len(rows) + 20:
            break
    assert turned == whole


@given(products.filter(lambda rows: any(row[0] for row in rows[:8])), st.integers(0, 30), st.integers(1, 20))
def test_a_failing_service_gives_opensearchs_own_page(
    rows: list[tuple[bool, bool, float]], start: int, size: int
) -> None:
    index = Index([f"p{rank}" if row[0] else "" for rank, row in enumerate(rows)])
    judge = Judge({})
    judge.down = True
    done = page(index, Reranker(judge, RecentJudgments()), shop(), start, size)
    assert (done.status.kind, done.status.reason) == ("skipped", "relevance-down")
    if done.body is None:
        assert start >= 8, "inside the window the page is cut from the answer in hand"
    else:
        own = index.search(json.dumps({"from": start, "size": size}).encode())
        assert own is not None
        assert json.loads(done.body) == json.loads(own)


def three_good(count: int) -> dict[str, Judgment]:
    return {f"p{rank}": judgment(rank / 1000, 0.9, remove=rank >= 3) for rank in range(count)}


def test_page_two_is_not_judged_again_and_needs_no_service() -> None:
    judge = Judge(three_good(20))
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    assert ids(page(index, reranker, shop(), 0, 2)) == [2, 1]
    judge.down = True
    assert ids(page(index, reranker, shop(), 2, 2)) == [0, 8]
    assert judge.asked == 1


def test_what_there_was_no_time_for_keeps_its_place_on_all_pages_of_a_search() -> None:
    judge = Judge(three_good(20), most=2)
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    first = page(index, reranker, shop(), 0, 3)
    assert ids(first) == [1, 0, 2]
    assert first.status.scored == 2
    assert first.status.header(7).endswith("; took=7; scored=2/8")
    judge.most = None
    second = page(index, reranker, shop(), 3, 6)
    assert (ids(second), second.status.scored) == ([3, 4, 5, 6, 7, 8], 2)
    assert judge.asked == 1, "page 2 follows page 1, whatever there is time for now"
    again = page(index, reranker, shop(), 0, 3)
    assert (ids(again), again.status.scored) == ([2, 1, 0], None)
    assert ids(page(index, reranker, shop(), 3, 6)) == [8, 9, 10, 11, 12, 13]


def test_a_second_try_that_fails_leaves_what_is_known() -> None:
    judge = Judge(three_good(20), most=2)
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    page(index, reranker, shop(), 0, 3)
    judge.down = True
    again = page(index, reranker, shop(), 0, 3)
    assert (ids(again), again.status.kind, again.status.scored) == ([1, 0, 2], "reranked", 2)
    assert ids(page(index, reranker, shop(), 3, 6)) == [3, 4, 5, 6, 7, 8]


def test_another_model_is_another_search() -> None:
    judge = Judge(three_good(20))
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    for asked in ({}, {}, {"model": "toys"}, {"model": "toys"}, {"model": "shop@2"}):
        page(index, reranker, shop(model="shop@2"), 0, 2, ext={"csrm": asked})
    assert judge.models == ["shop@2", "toys"]
    page(index, reranker, shop(), 0, 2)
    assert judge.models == ["shop@2", "toys", None]


def test_an_own_page_says_why_where_it_is_asked_to_explain() -> None:
    judge = Judge({})
    judge.down = True
    index, reranker = Index(["good 0"]), Reranker(judge, RecentJudgments())
    told = page(index, reranker, shop(model="shop@2"), 0, 2, ext={"csrm": {"explain": True}})
    assert told.body is not None
    assert json.loads(told.body)["csrm"] == {"reason": "relevance-down", "model": "shop@2"}
    plain = page(index, reranker, shop(model="shop@2"), 0, 2)
    assert plain.body is not None and "csrm" not in json.loads(plain.body)


def test_another_level_is_another_search() -> None:
    judge = Judge(three_good(20))
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    page(index, reranker, shop(level="fast"), 0, 2)
    page(index, reranker, shop(level="fast"), 0, 2)
    assert judge.levels == ["fast"]
    page(index, reranker, shop(level="fast"), 0, 2, ext={"csrm": {"level": "full"}})
    assert judge.levels == ["fast", "full"]


def test_page_two_of_a_skipped_page_one_is_skipped() -> None:
    judge = Judge(three_good(20))
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    judge.down = True
    assert ids(page(index, reranker, shop(), 0, 2)) == [0, 1]
    judge.down = False
    done = page(index, reranker, shop(), 2, 2)
    assert (ids(done), done.status) == ([2, 3], skipped("page-1-skipped", hits=2))
    assert ids(page(index, reranker, shop(), 0, 2)) == [2, 1]
    assert ids(page(index, reranker, shop(), 2, 2)) == [0, 8]


def test_the_end_of_the_result_window_is_no_error_and_repeats_nothing() -> None:
    judge = Judge(three_good(40))
    index, reranker = Index(list(judge.table), max_result_window=30), Reranker(judge, RecentJudgments())
    seen = [rank for start in range(0, 30, 5) for rank in ids(page(index, reranker, shop(), start, 5))]
    assert seen[:4] == [2, 1, 0, 8]
    assert len(seen) == len(set(seen))
    assert ids(page(index, reranker, shop(), 25, 5)) == []


def test_further_windows_are_judged_until_enough_stay() -> None:
    judge = Judge({f"p{rank}": judgment(rank / 1000, 0.9, remove=rank < 20) for rank in range(60)})
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    profile = shop(max_window=40, enough=5)
    done = page(index, reranker, profile, 0, 6)
    assert ids(done) == [31, 30, 29, 28, 27, 26], "32 hits were judged, four windows of eight"
    assert (done.status.window, done.status.removed) == (32, 20)
    assert judge.asked == 4
    assert ids(page(index, reranker, profile, 10, 4)) == [21, 20, 32, 33]
    assert json.loads(page(index, reranker, profile, 0, 1).body or b"")["hits"]["total"]["value"] == 40
    assert judge.asked == 4


def test_a_further_window_without_judgments_ends_the_judging_for_all_pages() -> None:
    judge = Judge({f"p{rank}": judgment(rank / 1000, 0.9, remove=2 <= rank < 20) for rank in range(60)})
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    profile = shop(max_window=40, enough=5)
    judge.down_after = 1
    assert ids(page(index, reranker, profile, 0, 3)) == [1, 0, 8]
    judge.down_after = None
    assert ids(page(index, reranker, profile, 3, 3)) == [9, 10, 11], (
        "as page 1 went on, not as it should have"
    )
    assert len(ids(page(index, reranker, profile, 0, 60))) == 42, "the next first page is complete again"


def test_a_blend_orders_by_the_fields_that_the_profile_names() -> None:
    judge = Judge({f"p{rank}": judgment(rank / 1000) for rank in range(8)})
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    assert ids(page(index, reranker, shop(blend={"relevance": 1, "lexical": 0.01}), 0, 3)) == [7, 6, 5]
    assert ids(page(index, reranker, shop(blend={"relevance": 0.01, "lexical": 1}), 0, 3)) == [0, 1, 2]


def test_explain_shows_grades_and_what_went_and_only_then() -> None:
    judge = Judge(three_good(10))
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    plain = json.loads(page(index, reranker, shop(), 0, 2).body or b"")
    assert "csrm" not in plain and all("_csrm" not in hit for hit in plain["hits"]["hits"])
    done = page(index, reranker, shop(), 0, 2, ext={"csrm": {"explain": True}})
    explained = json.loads(done.body or b"")
    first = explained["hits"]["hits"][0]["_csrm"]
    assert (first["lexical_rank"], first["score"], first["text"]) == (2, 0.002, "p2")
    assert set(first["grades"]) == set("ESCI")
    assert [product["_id"] for product in explained["csrm"]["removed"]] == ["3", "4", "5", "6", "7"]
    assert explained["csrm"]["removed"][0]["reason"] == "irrelevance 0.900 > threshold 0.500"
    assert "fields" not in explained["hits"]["hits"][0]


def test_max_score_is_that_of_what_stays() -> None:
    judge = Judge({f"p{rank}": judgment(0.5, 0.9, remove=rank == 0) for rank in range(10)})
    index, reranker = Index(list(judge.table)), Reranker(judge, RecentJudgments())
    for start in (0, 3, 9):
        assert json.loads(page(index, reranker, shop(), start, 2).body or b"")["hits"]["max_score"] == 99.0
