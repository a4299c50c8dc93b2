"""The memory of recent judgments, with a clock that the test turns."""

from __future__ import annotations

from csrm_opensearch.recent import Key, RecentJudgments
from tests.unit.csrm_opensearch.judgments import judgment

KEY: Key = ("phone case", "en", None)
OTHER: Key = ("phone case", "ko", None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_remembers_by_query_locale_and_threshold() -> None:
    recent = RecentJudgments(clock=Clock())
    recent.put(KEY, {"a": judgment(0.1)})
    recent.put(KEY, {"b": judgment(0.2)})
    assert set(recent.get(KEY)) == {"a", "b"}
    assert not recent.get(OTHER)
    assert not recent.get(("phone case", "en", 0.5))


def test_forgets_after_a_while() -> None:
    clock = Clock()
    recent = RecentJudgments(seconds=60, clock=clock)
    recent.put(KEY, {"a": judgment()})
    clock.now = 60.0
    assert recent.get(KEY)
    clock.now = 60.1
    assert not recent.get(KEY)


def test_the_least_recently_used_goes_first() -> None:
    recent = RecentJudgments(searches=2, clock=Clock())
    recent.put(KEY, {"a": judgment()})
    recent.put(OTHER, {"a": judgment()})
    assert recent.get(KEY)
    recent.put(("x", None, None), {"a": judgment()})
    assert recent.get(KEY)
    assert not recent.get(OTHER)


def test_a_failure_is_remembered_until_a_success() -> None:
    clock = Clock()
    recent = RecentJudgments(seconds=60, clock=clock)
    assert not recent.failed(KEY)
    recent.put_failed(KEY)
    assert recent.failed(KEY)
    recent.put(KEY, {"a": judgment()})
    assert not recent.failed(KEY)
    recent.put_failed(KEY)
    assert recent.get(KEY), "a failure takes nothing away"
    clock.now = 61.0
    assert not recent.failed(KEY)
