"""A node with OpenSearch's own security plugin: the commands over TLS, users, certificates, and rights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from csrm_opensearch.native.road import Road
from csrm_opensearch.testing import NodeError
from csrm_opensearch.testing.java import find_jdk
from csrm_opensearch.testing.releases import OPENSEARCH_VERSION, RELEASES
from tests.integration.authority import Authority
from tests.integration.native.conftest import (
    BEST,
    PRODUCTS,
    SEARCH,
    BuildPlugin,
    Csrm,
    Door,
    hits,
    profiles_file,
    trusting,
)
from tests.integration.native.secure_node import PASSWORD, SecureNode, secure_node
from tests.integration.native.serving import API_KEY, Serving

SHOP = "shop-secured"
README = Path(__file__).parents[3] / "plugin" / "README.md"


def role_of_the_readme(name: str) -> dict[str, Any]:
    found = re.search(rf"PUT _plugins/_security/api/roles/{name}\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert found, name
    role: dict[str, Any] = json.loads(found[1])
    return role


INSTALLER, SEARCHER = map(role_of_the_readme, ("csrm-installer", "csrm-searcher"))
READER = SEARCHER | {"cluster_permissions": []}
ALL_BUT_ML = INSTALLER | {
    "cluster_permissions": [right for right in INSTALLER["cluster_permissions"] if "/ml/" not in right]
}
ALL_BUT_PREDICT = INSTALLER | {
    "cluster_permissions": [
        *ALL_BUT_ML["cluster_permissions"],
        *(
            f"cluster:admin/opensearch/ml/{kind}/{do}"
            for kind in ("models", "connectors")
            for do in ("get", "search")
        ),
    ]
}


@pytest.fixture(scope="module")
def node(
    door: Door, authority: Authority, filter_plugin: BuildPlugin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureNode]:
    """With the shop, and a user for each role."""
    folder = tmp_path_factory.mktemp("secure")
    try:
        store = authority.trust_store(find_jdk(RELEASES[OPENSEARCH_VERSION].java))
        plugin = filter_plugin(OPENSEARCH_VERSION)
    except NodeError as error:
        pytest.skip(str(error))
    with secure_node(
        folder,
        plugin_zips=[plugin],
        settings={"csrm.relevance.url": door.wire.url},
        secrets={"csrm.relevance.key": API_KEY},
        jvm_options=trusting(store),
    ) as node:
        for number, product in enumerate(PRODUCTS):
            answer = node.administer("PUT", f"/{SHOP}/_doc/{number}?refresh=true", product)
            assert answer.status_code == 201, answer.text
        for user, role in {
            "installer": INSTALLER,
            "searcher": SEARCHER,
            "reader": READER,
            "all-but-ml": ALL_BUT_ML,
            "all-but-predict": ALL_BUT_PREDICT,
        }.items():
            node.add_user(user, role)
        yield node


class Commands:
    """The commands, each with the profile of the shop."""

    def __init__(self, csrm: Csrm, node: SecureNode, door: Door, folder: Path) -> None:
        self._csrm, self._node, self._door, self._folder = csrm, node, door, folder
        self.road = Road("csrm-secured", "", (SHOP,), ("brand", "title"), window=50, budget_ms=20_000)

    def __call__(self, *command: str, url: str | None = None, **tls: str) -> tuple[int, str]:
        """Exit code and output of a command.

        Args:
            url: of the cluster; that of a user who may install if not given.
            tls: fields of the settings; only the cluster's authority is trusted if none are given.
        """
        settings = {"urls": ["https://127.0.0.1:1"], **(tls or {"ca_file": str(self._node.authority.file)})}
        file = profiles_file(self._folder, self.road, relevance=self._door.wire.url, opensearch=settings)
        where = ("--profiles", str(file), "--opensearch", url or self._node.url_of("installer"))
        code, output = self._csrm(*command, *where, key=API_KEY)
        assert API_KEY not in output
        assert PASSWORD not in output
        return code, output


@pytest.fixture
def commands(
    csrm: Csrm, node: SecureNode, door: Door, service: Serving, tmp_path: Path
) -> Iterator[Commands]:
    """What a test installs is taken back by who may."""
    service.key = API_KEY
    commands = Commands(csrm, node, door, tmp_path)
    yield commands
    code, output = commands("uninstall", "pipeline")
    assert code == 0, output
    assert node.administer("GET", "/_cluster/settings").json()["persistent"] == {}


def search(node: SecureNode, user: str, **params: str) -> httpx.Response:
    return httpx.post(
        f"{node.url}/{SHOP}/_search",
        auth=(user, PASSWORD),
        json=SEARCH,
        params=params,
        verify=node.context(),
        timeout=60,
    )


def test_who_has_the_rights_of_the_readme(commands: Commands, node: SecureNode) -> None:
    code, output = commands("install", "pipeline", "--yes", "--default")
    assert (code, f"default of {SHOP}: made" in output) == (0, True), output
    code, output = commands("doctor")
    assert (code, output.count("ok  ")) == (0, 6), output
    assert set(hits(search(node, "searcher").json())[:3]) == BEST
    assert commands("install", "pipeline", "--yes", "--default")[0] == 0  # anew, as a key is given
    code, output = commands("uninstall", "pipeline")
    assert (code, "search pipeline csrm-secured: deleted" in output) == (0, True), output


def test_who_may_not_predict_gets_the_own_page_and_nobody_is_told(
    commands: Commands, node: SecureNode
) -> None:
    commands("install", "pipeline", "--yes", "--default")
    page = hits(search(node, "reader").json())
    assert page == hits(search(node, "reader", search_pipeline="_none").json())
    assert not BEST & set(page[:3])
    code, output = commands("doctor", url=node.url_of("all-but-predict"))
    assert code == 1
    assert "no permissions for [cluster:admin/opensearch/ml/predict]" in output
    assert output.splitlines()[-1].startswith("        do: give this user the right that is named")


def test_the_plugin_wants_no_right_of_who_searches(commands: Commands, node: SecureNode) -> None:
    pipeline = {
        "request_processors": [{"csrm_window": {"fields": ["brand", "title"]}}],
        "response_processors": [{"csrm_filter": {"timeout_ms": 30_000}}],
    }
    assert node.administer("PUT", "/_search/pipeline/filtered", pipeline).status_code == 200
    answer = search(node, "reader", search_pipeline="filtered")
    assert answer.headers["csrm-status"].startswith("reranked; window=7")
    assert set(hits(answer.json())[:3]) == BEST


@pytest.mark.parametrize(
    ("user", "right"),
    [("reader", "cluster:monitor/main"), ("all-but-ml", "cluster:admin/opensearch/ml/connectors/search")],
)
def test_who_has_too_few_rights_is_told_which(
    commands: Commands, node: SecureNode, user: str, right: str
) -> None:
    for command in (("install", "pipeline", "--yes"), ("uninstall", "pipeline")):
        code, output = commands(*command, url=node.url_of(user))
        assert code == 2
        assert f"refuses this user (403): give it the right {right}, or take a user who has it." in output
    commands("install", "pipeline", "--yes")
    code, output = commands("doctor", url=node.url_of(user))
    assert code == 1
    assert output.splitlines()[-1].startswith("        do: give it the right cluster:")


@pytest.mark.parametrize("name", ["installer:wrong@", "nobody:wrong@", ""])
def test_who_is_unknown(commands: Commands, node: SecureNode, name: str) -> None:
    code, output = commands("install", "pipeline", url=node.url.replace("//", f"//{name}"))
    assert (code, "does not know this user (401): put user and password" in output) == (2, True), output
    assert "wrong" not in output
    code, output = commands("doctor", url=node.url.replace("//", f"//{name}"))
    assert (code, "put user and password" in output) == (1, True), output


def test_a_certificate_instead_of_a_password(commands: Commands, node: SecureNode) -> None:
    certificate, key = map(str, node.authority.certificate("installer"))
    tls = {"ca_file": str(node.authority.file), "client_cert": certificate, "client_key": key}
    code, output = commands("install", "pipeline", "--yes", url=node.url, **tls)
    assert (code, "search pipeline csrm-secured (drop-in): made" in output) == (0, True), output
    code, output = commands("doctor", url=node.url, **tls)
    assert (code, output.count("ok  ")) == (0, 6), output


def test_the_administrators_certificate_would_hide_the_model(commands: Commands, node: SecureNode) -> None:
    certificate, key = map(str, node.admin)
    tls = {"ca_file": str(node.authority.file), "client_cert": certificate, "client_key": key}
    code, output = commands("install", "pipeline", "--yes", url=node.url, **tls)
    assert code == 2
    assert "hides the models of the security plugin's administrator" in output
    commands("install", "pipeline", "--yes")
    assert commands("doctor", url=node.url, **tls)[0] == 0


@pytest.mark.parametrize("tls", ["unknown authority", "no file", "no certificate"])
def test_certificates_that_do_not_fit(
    commands: Commands, authority: Authority, tmp_path: Path, tls: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    fields, expected = {
        "unknown authority": ({"ca_file": str(authority.file)}, (1, "name the authority's file (ca_file)")),
        "no file": (
            {"ca_file": str(tmp_path / "absent.pem")},
            (2, "opensearch.ca_file: the certificate files"),
        ),
        "no certificate": (
            {"client_cert": str(wrong), "client_key": str(wrong)},
            (2, "opensearch.client_cert, client_key: the certificate files cannot be used"),
        ),
    }[tls]
    code, output = commands("install", "pipeline", **fields)
    assert (code, expected[1] in output) == (expected[0], True), output
