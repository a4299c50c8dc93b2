"""What a profile becomes, and the shipped bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csrm_opensearch.errors import NativeProfileError, ProfileError
from csrm_opensearch.native.road import (
    MARK,
    connector_body,
    model_called,
    pipeline_body,
    profile_named,
    road_of,
    same_connector,
    strict,
)
from csrm_opensearch.profiles import GatewaySettings, Profile

URL = "https://relevance.example:8000"


def profile(**fields: Any) -> Profile:
    return Profile.model_validate({"name": "Shop", "indices": ["shop-*"], "text_fields": ["title"], **fields})


def unfilled(body: object) -> bool:
    text = json.dumps(body)
    return any(
        f'"${name}"' in text for name in ("mark", "name", "window", "model_id", "query", "documents", "url")
    )


@pytest.mark.parametrize("query_path", [None, "/query/multi_match/query"])
def test_every_place_of_the_shipped_bodies_is_filled(query_path: str | None) -> None:
    road = road_of(profile(query_path=query_path, window=70), URL + "/")
    assert (road.name, road.url) == ("csrm-shop", f"{URL}/v2/rerank")
    pipeline = pipeline_body(road, "m1")
    assert model_called(pipeline) == "m1"
    assert pipeline["request_processors"][0]["script"]["params"] == {"window": 70}
    assert pipeline["description"] == MARK
    assert not unfilled(pipeline)
    assert not unfilled(connector_body(road, key=None))


def test_both_pipelines_open_the_same_window() -> None:
    roads = [road_of(profile(query_path=path), URL) for path in (None, "/query/multi_match/query")]
    first, second = (pipeline_body(road, "m") for road in roads)
    assert first["request_processors"] == second["request_processors"]
    assert first != second


def test_a_pipeline_without_a_model_calls_none() -> None:
    assert model_called({"response_processors": [{"truncate_hits": {"target_size": 1}}]}) == ""


@pytest.mark.parametrize(("budget_ms", "seconds"), [(50, 1), (1_000, 1), (1_001, 2), (5_000, 5)])
def test_time_budget_in_whole_seconds_that_are_never_none(budget_ms: float, seconds: int) -> None:
    """A connector with a timeout of 0 waits for ever; the service is told the budget as it is."""
    body = connector_body(road_of(profile(time_budget_ms=budget_ms), URL), key=None)
    assert body["client_config"]["read_timeout"] == seconds
    filled = body["actions"][0]["request_body"].replace("${parameters.documents}", '["case"]')
    assert json.loads(filled) == {
        "query": "${parameters.query}",
        "documents": ["case"],
        "locale": None,
        "deadline_ms": budget_ms,
    }


def test_the_key_is_a_credential_and_nothing_else() -> None:
    road = road_of(profile(locale="ko"), URL)
    body = connector_body(road, key="secret")
    assert body.pop("credential") == {"key": "secret"}
    assert "secret" not in json.dumps(body)
    assert body["actions"][0]["headers"] == {"Authorization": "Bearer ${credential.key}"}
    assert "headers" not in connector_body(road, key=None)["actions"][0]
    assert '"locale": "ko"' in body["actions"][0]["request_body"]


def test_the_service_is_told_the_profiles_model() -> None:
    body = connector_body(road_of(profile(model="toys@7"), URL), key=None)
    filled = body["actions"][0]["request_body"].replace("${parameters.documents}", '["case"]')
    assert json.loads(filled)["model"] == "toys@7"
    assert not same_connector(body, connector_body(road_of(profile(), URL), key=None))


def test_connectors_differ_by_what_they_do() -> None:
    road = road_of(profile(), URL)
    body = connector_body(road, key=None)
    found = body | {"client_config": body["client_config"] | {"retry_backoff_millis": 200}}
    assert same_connector(body, found)
    assert not same_connector(connector_body(road, key="k"), found)
    assert not same_connector(connector_body(road_of(profile(time_budget_ms=9_000), URL), key=None), found)
    assert not same_connector(connector_body(road_of(profile(locale="ko"), URL), key=None), found)
    assert not same_connector(body, {})


def test_a_check_wants_failures_shown() -> None:
    body = pipeline_body(road_of(profile(query_path="/query/match/title"), URL), "m")
    assert '"ignore_failure": true' in json.dumps(body)
    assert '"ignore_failure": true' not in json.dumps(strict(body))


@pytest.mark.parametrize("locale", [{"by_index": {"shop-ko": "ko"}}, {"field": "locale"}])
def test_a_locale_that_changes_from_search_to_search_is_refused(locale: object) -> None:
    with pytest.raises(NativeProfileError, match="one profile a locale"):
        road_of(profile(locale=locale), URL)


@pytest.mark.parametrize("url", ["relevance:8000", "ftp://host", "http://", "http://host?key=secret"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(NativeProfileError, match="no URL") as raised:
        road_of(profile(), url)
    assert "secret" not in str(raised.value)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(NativeProfileError, match="CSRM_RELEVANCE_KEY") as raised:
        road_of(profile(), "https://user:secret@host:8000")
    assert "secret" not in str(raised.value)


def test_the_profile_is_named_where_there_are_several() -> None:
    two = GatewaySettings(profiles=[profile(name="a"), profile(name="b")])
    one = GatewaySettings(profiles=[profile(name="a")])
    assert profile_named(two, "b").name == "b"
    assert profile_named(one, None).name == "a"
    for settings, name in ((two, None), (two, "c"), (GatewaySettings(), None)):
        with pytest.raises(ProfileError, match="name one of"):
            profile_named(settings, name)
