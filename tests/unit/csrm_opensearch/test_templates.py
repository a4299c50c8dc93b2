"""The shipped templates are sound, and file and cluster are compared by what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrm_opensearch.cluster import connect, require_version
from csrm_opensearch.errors import ClusterError, ClusterTooOldError
from csrm_opensearch.templates import (
    MANAGED_BY,
    IndexTemplate,
    State,
    compare,
    flatten,
    load_templates,
)

names = st.text(alphabet="abcdefgh_", min_size=1, max_size=8).filter(lambda name: name != "index")
settings = st.dictionaries(
    names, st.integers(min_value=0, max_value=99) | st.booleans() | st.just("1s"), max_size=4
)
template_bodies = st.fixed_dictionaries(
    {
        "index_patterns": st.lists(names, min_size=1, max_size=3),
        "version": st.integers(min_value=1, max_value=9),
        "_meta": st.just({"managed_by": MANAGED_BY}),
        "template": st.fixed_dictionaries(
            {
                "settings": settings,
                "mappings": st.fixed_dictionaries(
                    {
                        "properties": st.dictionaries(
                            names, st.fixed_dictionaries({"type": st.just("keyword")}), max_size=4
                        )
                    }
                ),
            }
        ),
    }
)


def as_the_cluster_gives_it_back(body: dict[str, Any]) -> dict[str, Any]:
    """What a real node answers after it was given ``body``: see tests/integration/test_templates.py."""

    def as_text(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    template = body["template"]
    kept = {"index": {name: as_text(value) for name, value in template["settings"].items()}}
    return body | {"composed_of": [], "template": template | {"settings": kept}}


def test_products_and_knowledge_are_shipped() -> None:
    assert [template.name for template in load_templates()] == ["csrm-knowledge", "csrm-products"]


@pytest.mark.parametrize("template", load_templates(), ids=lambda template: template.name)
def test_shipped_template_is_marked_as_ours(template: IndexTemplate) -> None:
    assert template.body["_meta"]["managed_by"] == MANAGED_BY
    assert template.body["version"] >= 1
    assert template.body["priority"] > 100  # above the built-in ones and those of a cluster's default


@given(template_bodies)
def test_what_was_installed_has_not_drifted(body: dict[str, Any]) -> None:
    finding = compare(IndexTemplate("t", body), as_the_cluster_gives_it_back(body))
    assert (finding.state, finding.differences) == (State.CURRENT, [])


@given(template_bodies, names)
def test_another_field_type_is_drift_and_is_named(body: dict[str, Any], name: str) -> None:
    installed = as_the_cluster_gives_it_back(body)
    properties = installed["template"]["mappings"]["properties"] | {name: {"type": "text"}}
    installed["template"]["mappings"] = {"properties": properties}
    finding = compare(IndexTemplate("t", body), installed)
    assert finding.state is State.DRIFTED
    assert len(finding.differences) == 1
    assert f"template.mappings.properties.{name}.type:" in finding.differences[0]
    assert finding.differences[0].endswith("text in the cluster")


@given(settings)
def test_settings_mean_the_same_nested_dotted_and_bare(values: dict[str, Any]) -> None:
    bare = {"template": {"settings": values}}
    dotted = {"template": {"settings": {f"index.{name}": value for name, value in values.items()}}}
    nested = {"template": {"settings": {"index": values}}}
    assert flatten(bare) == flatten(dotted) == flatten(nested)


def test_missing() -> None:
    assert compare(load_templates()[0], None).state is State.MISSING


@pytest.mark.parametrize("meta", [{}, {"_meta": None}, {"_meta": {"managed_by": "somebody"}}])
def test_template_without_our_mark_is_foreign(meta: dict[str, Any]) -> None:
    shipped = load_templates()[0]
    body = {key: value for key, value in shipped.body.items() if key != "_meta"}
    assert compare(shipped, body | meta).state is State.FOREIGN


@pytest.mark.parametrize("number", ["2.7.0", "2.19.1", "3.8.0", "10.0.0-SNAPSHOT"])
def test_version_that_will_do(number: str) -> None:
    found = require_version({"version": {"distribution": "opensearch", "number": number}}, (2, 7), "these")
    assert found == number


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"version": {"distribution": "opensearch", "number": "2.6.1"}}, "runs OpenSearch 2.6.1: upgrade"),
        ({"version": {"distribution": "opensearch", "number": "1.3.20"}}, "need 2.7 or later"),
        ({"version": {"number": "8.15.0", "build_flavor": "default"}}, r"not OpenSearch .*8\.15\.0"),
        ({"hello": "world"}, "not OpenSearch"),
    ],
)
def test_version_that_will_not_do(info: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterTooOldError, match=message):
        require_version(info, (2, 7), "these")


@pytest.mark.parametrize("url", ["", "localhost:9200", "ftp://host", "http://", "admin:secret@host:9200"])
def test_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ClusterError) as raised:
        connect(url)
    assert "secret" not in str(raised.value)
