"""A node with OpenSearch's own security plugin, with certificates, users and rights that are made here."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from csrm_opensearch.testing.home import node_home
from csrm_opensearch.testing.java import find_jdk, find_maven
from csrm_opensearch.testing.process import start_node
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES
from tests.integration.authority import Authority

PASSWORD = "Only-For-This-Test-1"
_NAME = f"org.opensearch.plugin:opensearch-security:{OPENSEARCH_VERSION}.0:zip"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_START_S = 300.0


@dataclass
class SecureNode:
    """The node.

    Attributes:
        port: of https on 127.0.0.1.
        authority: signed the node's certificate and those of its clients.
        admin: certificate and key of who may do everything.
    """

    port: int
    authority: Authority
    admin: tuple[Path, Path]

    @property
    def url(self) -> str:
        """For those who show a certificate."""
        return f"https://127.0.0.1:{self.port}"

    def url_of(self, user: str) -> str:
        """For those who have a name and a password."""
        return f"https://{user}:{PASSWORD}@127.0.0.1:{self.port}"

    def add_user(self, user: str, role: dict[str, Any]) -> None:
        """A user with a role of the same name."""
        for path, body in (
            (f"roles/{user}", role),
            (f"internalusers/{user}", {"password": PASSWORD}),
            (f"rolesmapping/{user}", {"users": [user]}),
        ):
            answer = self.administer("PUT", f"/_plugins/_security/api/{path}", body)
            assert answer.status_code == 201, answer.text

    def context(self) -> ssl.SSLContext:
        """For clients that trust the node."""
        return ssl.create_default_context(cafile=self.authority.file)

    def administer(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A request of who may do everything."""
        context = self.context()
        context.load_cert_chain(*self.admin)
        return httpx.request(method, self.url + path, json=body, verify=context, timeout=60)


@contextmanager
def secure_node(
    folder: Path,
    *,
    plugin_zips: list[Path],
    settings: dict[str, object],
    secrets: dict[str, str],
    jvm_options: list[str],
) -> Iterator[SecureNode]:
    """Run the node, with the plugins of the rerank stack and others, until the block ends.

    Raises:
        NodeError: no JDK, no Maven, or the node does not start.
    """
    jdk = find_jdk(RELEASES[OPENSEARCH_VERSION].java)
    home = node_home(jdk, RELEASES[OPENSEARCH_VERSION], plugins=True, progress=lambda _: None)
    fetch = [find_maven(), "-q", "-B", _COPY, f"-Dartifact={_NAME}", f"-DoutputDirectory={folder}"]
    subprocess.run(fetch, check=True, capture_output=True, timeout=600)
    (plugin,) = folder.glob("opensearch-security-*.zip")
    shutil.unpack_archive(plugin, folder / "security")
    _let_certificates_name_users(folder / "security" / "config" / "config.yml")
    authority = Authority(folder)
    certificate, key = authority.certificate("node")
    secured: dict[str, object] = {
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.transport.enforce_hostname_verification": False,
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.authcz.admin_dn": ["CN=admin"],
        "plugins.security.nodes_dn": ["CN=node"],
        "plugins.security.audit.type": "noop",
    }
    for layer in ("http", "transport"):
        secured[f"plugins.security.ssl.{layer}.pemcert_filepath"] = str(certificate)
        secured[f"plugins.security.ssl.{layer}.pemkey_filepath"] = str(key)
        secured[f"plugins.security.ssl.{layer}.pemtrustedcas_filepath"] = str(authority.file)
    process = start_node(
        home,
        jdk,
        port=None,
        heap_mb=512,
        timeout_s=120,
        progress=lambda _: None,
        plugin_zips=[plugin, *plugin_zips],
        settings=settings | secured,
        secrets=secrets,
        jvm_options=[*jvm_options, f"-Dsecurity.default_init.dir={folder / 'security' / 'config'}"],
    )
    try:
        node = SecureNode(process.port, authority, authority.certificate("admin"))
        deadline = time.monotonic() + _START_S
        while node.administer("GET", "/_plugins/_security/health").json().get("status") != "UP":
            assert time.monotonic() < deadline, "the security plugin does not come up"
            time.sleep(0.5)
        yield node
    finally:
        process.stop()


def _let_certificates_name_users(config: Path) -> None:
    """Switch on what the plugin's own settings have switched off: a client's certificate is its name."""
    settings = yaml.safe_load(config.read_text())
    settings["config"]["dynamic"]["authc"]["clientcert_auth_domain"]["http_enabled"] = True
    config.write_text(yaml.safe_dump(settings))
