"""The relevance service asks for a key: the gateway brings it, shows it to nobody, and says when it is not taken."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.gateway import Gateway
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.testing import OpenSearchNode
from csrm_serve.access import read_keys
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Answer, call, running_gateway
from tests.integration.gateway.test_command import gateway_process
from tests.integration.native.serving import Serving, serving

KEY = "the-key-of-the-gateway"
NAME = "CSRM_TEST_RELEVANCE_KEY"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Serving]:
    """The service's own API and access control."""
    keys = tmp_path / "keys"
    keys.write_text(f"another-key\n{KEY}\n")
    with serving(read_keys(keys)) as served:
        yield served


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.key"
    file.write_text(KEY + "\n")
    return file


def told(opensearch: OpenSearchNode, served: Serving, **place: object) -> GatewaySettings:
    plain = settings(opensearch.url, served.url).model_dump(mode="json")
    plain["relevance"] |= place
    return GatewaySettings.model_validate(plain)


def search(url: str) -> Answer:
    answer = call(url, "POST", f"/{SHOP}/_search", {"query": {"match": {"title": "phone case good"}}})
    assert answer.status == 200
    return answer


def readiness(url: str) -> Any:
    answer = call(url, "GET", "/_csrm/readyz")
    assert answer.status == 200
    return answer.json


def test_the_key_comes_from_a_file(
    opensearch: OpenSearchNode, shop: str, guarded: Serving, key_file: Path
) -> None:
    with running_gateway(told(opensearch, guarded, key_file=str(key_file))) as url:
        assert search(url).csrm.startswith("reranked")
        assert readiness(url)["status"] == "ready"


def test_the_key_comes_from_the_environment(
    opensearch: OpenSearchNode, shop: str, guarded: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, KEY)
    with running_gateway(told(opensearch, guarded, key_env=NAME)) as url:
        assert search(url).csrm.startswith("reranked")
        assert readiness(url)["status"] == "ready"


def test_a_service_that_wants_a_key_is_named(opensearch: OpenSearchNode, shop: str, guarded: Serving) -> None:
    with running_gateway(told(opensearch, guarded)) as url:
        assert search(url).csrm == "skipped; reason=relevance-key"
        ready = readiness(url)
    assert ready["status"] == "degraded"
    assert ready["relevance"]["state"] == "unknown-key"
    assert "asks for a key: set relevance.key_file" in ready["relevance"]["reason"]
    assert ready["breaker"] == "closed", "the service itself is well"


def test_a_wrong_key_is_named_and_a_new_one_taken_on_hup_and_neither_is_shown(
    opensearch: OpenSearchNode, shop: str, guarded: Serving, key_file: Path, tmp_path: Path
) -> None:
    key_file.write_text("a-key-of-yesterday")
    profiles = tmp_path / "profiles.yaml"
    plain = told(opensearch, guarded, key_file=str(key_file)).model_dump(mode="json")
    profiles.write_text(yaml.safe_dump(plain))
    with gateway_process(profiles, "--log-level", "debug") as running:
        assert running.search().csrm == "skipped; reason=relevance-key"
        ready = call(running.url, "GET", "/_csrm/readyz")
        assert "does not know the gateway's key" in ready.json["relevance"]["reason"]
        running.says("does not know the gateway's key")
        key_file.write_text(KEY)
        running.process.send_signal(signal.SIGHUP)
        running.says("reading the settings anew")
        assert running.search("phone case good").csrm.startswith("reranked")
        pages = [
            call(running.url, "GET", f"/_csrm/{page}").body for page in ("profiles", "metrics", "readyz")
        ]
        assert running.stop() == 0
        shown = running.log.read_text() + json.dumps(plain) + repr(pages) + repr(ready)
    assert "a-key-of-yesterday" not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"relevance\.key_file: .* cannot be read"),
        (b"\n", r"relevance\.key_file: .* is empty"),
        (b"two words", r"relevance\.key_file: .* is no key"),
        (b"one\nanother", r"relevance\.key_file: .* is no key"),
        ("schlüssel".encode(), r"relevance\.key_file: .* is no key"),
        (b"k\xff", r"relevance\.key_file: .* cannot be read \(it is not UTF-8"),
    ],
)
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProfileError, match=message):
        Gateway(GatewaySettings.model_validate({"relevance": {"key_file": str(file)}}))


def test_an_environment_without_the_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with pytest.raises(ProfileError, match=r"relevance\.key_env: the environment has no variable") as error:
        Gateway(GatewaySettings.model_validate({"relevance": {"key_env": NAME}}))
    assert NAME not in str(error.value), "it may be the key itself, put in the wrong place"


def test_two_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep one of them"):
        GatewaySettings.model_validate({"relevance": {"key_file": str(tmp_path), "key_env": NAME}})
