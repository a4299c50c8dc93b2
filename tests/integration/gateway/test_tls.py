"""TLS to OpenSearch: an own authority, a client certificate, and what is said where they do not fit."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.gateway import Gateway
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.authority import Authority
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Wire, call, running_gateway
from tests.integration.gateway.word_service import WordService

CASE = {"query": {"match": {"title": "phone case"}}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(opensearch: OpenSearchNode, authority: Authority) -> Iterator[Wire]:
    """OpenSearch behind TLS, for clients with a certificate of the authority only."""
    context = authority.server_context("node")
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    wire = Wire(opensearch.url, context)
    yield wire
    wire.close()


def with_tls(url: str, service: WordService, **tls: Any) -> GatewaySettings:
    told = settings(url, service.url)
    return told.model_copy(update={"opensearch": told.opensearch.model_copy(update=tls)})


def test_own_authority_and_client_certificate(
    secured: Wire, authority: Authority, shop: str, service: WordService
) -> None:
    certificate, key = authority.certificate("gateway")
    tls = {"ca_file": authority.file, "client_cert": certificate, "client_key": key}
    with running_gateway(with_tls(secured.url, service, **tls)) as url:
        assert call(url, "POST", f"/{SHOP}/_search", CASE).csrm.startswith("reranked")
        assert call(url, "GET", "/_csrm/readyz").json["opensearch"]["reachable"]


def test_an_unknown_authority_is_not_trusted_unless_told_so(
    secured: Wire, authority: Authority, shop: str, service: WordService
) -> None:
    certificate, key = authority.certificate("gateway")
    tls: dict[str, Any] = {"client_cert": certificate, "client_key": key}
    with running_gateway(with_tls(secured.url, service, **tls)) as url:
        answer = call(url, "GET", "/")
        assert (answer.status, answer.json["error"]["type"]) == (503, "opensearch_unreachable_exception")
    with running_gateway(with_tls(secured.url, service, verify=False, **tls)) as url:
        assert call(url, "GET", "/").status == 200


def test_without_a_client_certificate_the_node_hangs_up(
    secured: Wire, authority: Authority, shop: str, service: WordService
) -> None:
    with running_gateway(with_tls(secured.url, service, ca_file=authority.file)) as url:
        answer = call(url, "GET", "/")
        assert answer.status in {502, 503}
        assert answer.json["error"]["type"].startswith("opensearch_")


def test_files_that_are_no_certificates_are_named(tmp_path: Path, service: WordService) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ProfileError, match=r"^opensearch\.ca_file: the certificate files cannot be used"):
        Gateway(with_tls("https://127.0.0.1:1", service, ca_file=wrong))
    with pytest.raises(ProfileError, match=r"^opensearch\.ca_file: the certificate files cannot be used"):
        Gateway(with_tls("https://127.0.0.1:1", service, ca_file=tmp_path / "absent.pem"))
    keyless = {"client_cert": wrong, "client_key": wrong}
    with pytest.raises(ProfileError, match=r"^opensearch\.client_cert, client_key: the certificate files"):
        Gateway(with_tls("https://127.0.0.1:1", service, **keyless))
