"""Certificates for tests of TLS: an authority that signs them, and files of the kinds that programs read."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csrm_opensearch.testing.java import Jdk

TRUST_STORE_PASSWORD = "changeit"
"""Java's own; nothing in a trust store is secret."""


class Authority:
    """Signs certificates; every file is a PEM in one folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "ca.pem"
        self._write("ca", self._name, self._key, authority=True)

    def certificate(self, name: str, *, address: str = "127.0.0.1", days: float = 1.0) -> tuple[Path, Path]:
        """Certificate and key for a name.

        Args:
            address: the one that the certificate is valid for.
            days: for so long; over already where it is negative.
        """
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
        return self._write(name, subject, key, authority=False, address=address, days=days), key_file

    def server_context(self, name: str, *, address: str = "127.0.0.1", days: float = 1.0) -> ssl.SSLContext:
        """What a server of that name speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate(name, address=address, days=days))
        return context

    def trust_store(self, jdk: Jdk) -> Path:
        """A trust store of Java's with this authority and no other, by the command of plugin/README.md."""
        store = self._folder / "trust"
        if store.exists():
            return store
        subprocess.run(
            [
                *(jdk.home / "bin" / "keytool", "-importcert", "-noprompt", "-alias", "csrm"),
                *("-file", self.file, "-keystore", store, "-storepass", TRUST_STORE_PASSWORD),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        return store

    def _write(
        self,
        name: str,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool,
        address: str = "127.0.0.1",
        days: float = 1.0,
    ) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return file
