"""The memory of recent judgments, with a clock that the test turns."""

from __future__ import annotations

import tracemalloc

from csrm.wire import GradeProbabilities, Judgment
from csrm_opensearch.recent import Key, RecentJudgments
from tests.unit.csrm_opensearch.judgments import judgment

KEY: Key = ("phone case", "en", None, None, None)
OTHER: Key = ("phone case", "ko", None, None, None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_remembers_by_query_locale_threshold_model_and_level() -> None:
    recent = RecentJudgments(clock=Clock())
    recent.put(KEY, {"a": judgment(0.1)})
    recent.put(KEY, {"b": judgment(0.2)})
    assert recent.get(KEY, ["a", "b", "c"]) == {"a": judgment(0.1), "b": judgment(0.2)}
    assert not recent.get(OTHER, "a")
    assert not recent.get(("phone case", "en", 0.5, None, None), "a")
    assert not recent.get(("phone case", "en", None, "toys@7", None), "a")
    assert not recent.get(("phone case", "en", None, None, "fast"), "a")


def test_what_was_left_unscored_is_remembered_until_it_is_judged() -> None:
    recent = RecentJudgments(clock=Clock())
    recent.put(KEY, {"a": judgment(0.1)}, unscored=["b"])
    assert recent.unscored(KEY, ["a", "b", "c"]) == {"b"}
    assert set(recent.get(KEY, ["a", "b", "c"])) == {"a"}
    recent.put(KEY, {"b": judgment(0.2)}, unscored=["a"])
    assert not recent.unscored(KEY, ["a", "b", "c"])
    assert set(recent.get(KEY, ["a", "b"])) == {"a", "b"}, "a judgment is not taken back"


def test_a_judgment_comes_back_as_it_was() -> None:
    recent = RecentJudgments(clock=Clock())
    grades = GradeProbabilities(E=0.1, S=0.2, C=0.3, I=0.4)
    for decision in ("keep", "remove"):
        exact = Judgment(index=0, grades=grades, score=1 / 3, irrelevance=0.1 + 0.2, decision=decision)
        recent.put(KEY, {"전화 \ud800": exact})
        assert recent.get(KEY, ["전화 \ud800"]) == {"전화 \ud800": exact}


def test_a_thousand_windows_fit_into_little_memory() -> None:
    recent = RecentJudgments(clock=Clock())
    tracemalloc.start()
    for search in range(1_000):
        window = {f"{search} {product} " + "text " * 20: judgment(product / 100) for product in range(100)}
        recent.put((f"query {search}", "en", None), window)
    del window
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 30_000_000


def test_forgets_after_a_while() -> None:
    clock = Clock()
    recent = RecentJudgments(seconds=60, clock=clock)
    recent.put(KEY, {"a": judgment()})
    clock.now = 60.0
    assert recent.get(KEY, "a")
    clock.now = 60.1
    assert not recent.get(KEY, "a")


def test_the_least_recently_used_goes_first() -> None:
    recent = RecentJudgments(searches=2, clock=Clock())
    recent.put(KEY, {"a": judgment()})
    recent.put(OTHER, {"a": judgment()})
    assert recent.get(KEY, "a")
    recent.put(("x", None, None, None), {"a": judgment()})
    assert recent.get(KEY, "a")
    assert not recent.get(OTHER, "a")


def test_a_failure_is_remembered_until_a_success() -> None:
    clock = Clock()
    recent = RecentJudgments(seconds=60, clock=clock)
    assert not recent.failed(KEY)
    recent.put_failed(KEY)
    assert recent.failed(KEY)
    recent.put(KEY, {"a": judgment()})
    assert not recent.failed(KEY)
    recent.put_failed(KEY)
    assert recent.get(KEY, "a"), "a failure takes nothing away"
    clock.now = 61.0
    assert not recent.failed(KEY)
