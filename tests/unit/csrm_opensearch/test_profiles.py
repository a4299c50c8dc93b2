"""Profiles: the settings file, its errors, and which searches a profile covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.profiles import (
    EXAMPLE,
    GatewaySettings,
    LocaleByIndex,
    LocaleFromField,
    Profile,
    load_settings,
)


def test_the_shipped_example_is_right() -> None:
    settings = load_settings(EXAMPLE)
    profile = settings.profile_for("shop-zh-tw")
    assert profile is not None and profile.locale_of(["shop-zh-tw"]) == "zh-TW"
    assert profile.mode == "on"


def test_options_stand_above_the_file() -> None:
    settings = load_settings(EXAMPLE, relevance__url="http://10.0.0.1:1", dashboard_url=None)
    assert settings.relevance.url == "http://10.0.0.1:1"
    assert settings.relevance.max_in_flight == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profiles: [", "line 1: "),
        ("- a", "the top must be a mapping"),
        ("profiles:\n - name: a", "profiles[0].indices: field required"),
        ("profiles:\n - {name: a, indices: [x], text_fields: [t], window: 0}", "profiles[0].window: "),
        (
            "profiles:\n - {name: a, indices: [x], text_fields: [t], windw: 5}",
            "profiles[0].windw: no such field",
        ),
        (
            "profiles:\n - {name: a, indices: [x], text_fields: [t], max_window: 50}",
            "profiles[0]: max_window must be at least the window (100)",
        ),
        ("profiles:\n - {name: a, indices: [x], text_fields: [t], locale: kor!}", "profiles[0].locale"),
        ("profiles:\n - {name: a, indices: [x], text_fields: [t], model: ''}", "profiles[0].model: "),
        ("relevance: {url: 'ftp://x'}", "relevance.url: "),
        (
            "profiles:\n - &p {name: a, indices: [x], text_fields: [t]}\n - *p",
            "profiles: two profiles are named 'a'",
        ),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError) as error:
        load_settings(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"absent\.yaml cannot be read"):
        load_settings(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"profiles: # \xe9")
    with pytest.raises(ProfileError, match="not UTF-8"):
        load_settings(tmp_path / "latin.yaml")


@pytest.mark.parametrize(("written", "mode"), [("on", "on"), ("off", "off"), ('"on"', "on"), ("true", "on")])
def test_yamls_bare_switches_are_read(tmp_path: Path, written: str, mode: str) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(f"profiles:\n - {{name: a, indices: [x], text_fields: [t], mode: {written}}}")
    assert load_settings(path).profiles[0].mode == mode


def test_each_model_that_profiles_name_is_listed_once() -> None:
    named = [("a", None), ("b", "toys"), ("c", "shop@2"), ("d", "toys")]
    profiles = [Profile(name=name, indices=[name], text_fields=["t"], model=model) for name, model in named]
    assert GatewaySettings(profiles=profiles).models == ["toys", "shop@2"]


@pytest.mark.parametrize("expression", ["", "_all", "*", "shop-*", "-shop-ko", "anything,else"])
def test_a_profile_on_every_index_covers_whatever_is_searched(expression: str) -> None:
    profile = Profile(name="a", indices=["*"], text_fields=["t"])
    assert GatewaySettings(profiles=[profile]).profile_for(expression) is profile


@pytest.mark.parametrize(
    ("expression", "covered"),
    [
        ("shop-ko", True),
        ("shop-ko,shop-ja", True),
        ("shop-k*", True),
        ("shop-*,-shop-old", True),
        ("products", True),
        ("shop-ko,orders", False),
        ("shop*", False),
        ("*", False),
        ("_all", False),
        ("", False),
        ("myshop-ko", False),
    ],
)
def test_only_searches_that_cannot_reach_other_indices_are_covered(expression: str, covered: bool) -> None:
    profile = Profile(name="a", indices=["shop-*", "products"], text_fields=["t"])
    assert (GatewaySettings(profiles=[profile]).profile_for(expression) is not None) is covered


def test_the_first_profile_that_covers_all_wins() -> None:
    narrow = Profile(name="narrow", indices=["shop-ko"], text_fields=["t"])
    wide = Profile(name="wide", indices=["shop-*"], text_fields=["t"])
    settings = GatewaySettings(profiles=[narrow, wide])
    found = [
        p.name if (p := settings.profile_for(e)) else None for e in ("shop-ko", "shop-ja", "shop-ko,shop-ja")
    ]
    assert found == ["narrow", "wide", "wide"]


def test_locales() -> None:
    fixed = Profile(name="a", indices=["x"], text_fields=["t"], locale="ko")
    assert fixed.locale_of(["x"]) == "ko"
    by_index = fixed.model_copy(update={"locale": LocaleByIndex(by_index={"*-ko": "ko", "shop-ja*": "ja"})})
    assert by_index.locale_of(["shop-ko"]) == "ko"
    assert by_index.locale_of(["shop-ko", "other-ko"]) == "ko"
    assert by_index.locale_of(["shop-ko", "shop-ja"]) is None
    assert by_index.locale_of(["shop-es"]) is None
    assert by_index.locale_of([]) is None
    from_field = fixed.model_copy(update={"locale": LocaleFromField(field="lang")})
    assert from_field.locale_of([], ["ja", "ko", "ja", "not a tag"]) == "ja"
    assert from_field.locale_of([], []) is None
