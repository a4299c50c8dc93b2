"""TLS to OpenSearch: an own authority, a client certificate, and what is said where they do not fit."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.gateway import Gateway
from csrm_opensearch.profiles import GatewaySettings
from csrm_opensearch.testing import OpenSearchNode
from tests.integration.gateway.conftest import SHOP, settings
from tests.integration.gateway.running import Wire, call, running_gateway
from tests.integration.gateway.word_service import WordService

CASE = {"query": {"match": {"title": "phone case"}}}


class Authority:
    """Signs certificates; every file is a PEM in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = folder / "ca.pem"
        self._write("ca", self._name, self._key, authority=True)

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a name, valid for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key_file = self._folder / f"{name}.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(name, subject, key, authority=False), key_file

    def _write(
        self, name: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return file


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(opensearch: OpenSearchNode, authority: Authority) -> Iterator[Wire]:
    """OpenSearch behind TLS, for clients with a certificate of the authority only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certificate("node"))
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
    with pytest.raises(ProfileError, match=r"^opensearch: the certificate files cannot be used"):
        Gateway(with_tls("https://127.0.0.1:1", service, ca_file=wrong))
    with pytest.raises(ProfileError, match=r"^opensearch: the certificate files cannot be used"):
        Gateway(with_tls("https://127.0.0.1:1", service, ca_file=tmp_path / "absent.pem"))
