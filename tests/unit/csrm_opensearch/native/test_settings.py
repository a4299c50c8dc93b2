"""The settings that are needed, and that taking them back leaves what was there before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.native.settings import (
    PRIVATE,
    RECORD,
    TRUSTED,
    is_private,
    is_trusted,
    needed_settings,
    pattern_of,
    settings_taken_back,
    shown,
)

DEFAULTS: dict[str, Any] = {TRUSTED: ["^https://api\\.example\\.com/.*$"], PRIVATE: "false"}
URLS = ["http://10.0.0.1:8000/v2/rerank", "https://relevance.example/v2/rerank", "http://a-b.c:1/x/v2/rerank"]

before = st.fixed_dictionaries(
    {},
    optional={
        TRUSTED: st.lists(
            st.sampled_from(["^https://one/.*$", "^https://two/.*$", "(?<java>only)["]), max_size=3
        ),
        PRIVATE: st.sampled_from(["true", "false"]),
    },
)


def put(current: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """As the cluster does: a null takes a setting away, and values come back as texts."""
    merged = current | change
    return {
        name: value if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value
        for name, value in merged.items()
        if value is not None
    }


@given(before, st.lists(st.tuples(st.sampled_from(URLS), st.booleans()), min_size=1, max_size=4))
def test_all_that_was_needed_is_taken_back(start: dict[str, Any], calls: list[tuple[str, bool]]) -> None:
    current = start
    for url, private in calls:
        current = put(current, needed_settings(current, DEFAULTS, url, private=private))
        assert needed_settings(current, DEFAULTS, url, private=private) == {}
    urls = [url for url, _ in calls]
    while urls:
        urls.pop()
        current = put(current, settings_taken_back(current, urls))
        assert all(is_trusted((DEFAULTS | current)[TRUSTED], url) for url in urls)
    if PRIVATE in start and start[PRIVATE] == "false":  # said aloud or not, it is the default
        start = {name: value for name, value in start.items() if name != PRIVATE}
        current = {name: value for name, value in current.items() if name != PRIVATE}
    assert current == start


def test_what_others_added_meanwhile_stays() -> None:
    current = put({}, needed_settings({}, DEFAULTS, URLS[0], private=True))
    current[TRUSTED] = [*current[TRUSTED], "^https://theirs/.*$"]
    assert put(current, settings_taken_back(current, [])) == {
        TRUSTED: [*DEFAULTS[TRUSTED], "^https://theirs/.*$"]
    }


def test_nothing_is_taken_back_that_was_not_ours() -> None:
    assert settings_taken_back({TRUSTED: [pattern_of(URLS[0])], PRIVATE: "true"}, []) == {}


@pytest.mark.parametrize("url", URLS)
def test_a_pattern_trusts_its_origin_only(url: str) -> None:
    assert is_trusted([pattern_of(url)], url)
    for other in ("https://evil.example/v2/rerank", url.replace("://", "://evil."), url.replace(".", "x", 1)):
        assert not is_trusted([pattern_of(url)], other)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://192.168.1.7", True),
        ("http://[::1]:8000", True),
        ("http://8.8.8.8", False),
        ("http://no-such-host.invalid", False),
    ],
)
def test_private_addresses(url: str, private: bool) -> None:
    assert is_private(url) is private


def test_only_what_is_added_is_shown() -> None:
    needed = needed_settings({}, DEFAULTS, URLS[0], private=True)
    assert shown(needed, URLS[0]) == [
        f"{TRUSTED}: {pattern_of(URLS[0])} added",
        f"{PRIVATE}: true",
        f"{RECORD}: the record of these changes",
    ]
