"""The OpenSearch releases that a local node can be put together from, and how they differ. Knows no Maven run."""

from __future__ import annotations

from dataclasses import dataclass

from csrm_opensearch.testing.errors import HomeError


@dataclass(frozen=True)
class Release:
    """A release of which Maven has the server and all its modules.

    Attributes:
        java: the oldest Java that runs it.
        plugins: whether Maven also has job-scheduler, k-NN, neural-search and ml-commons for it.
        log4j: version of the log4j that the server was built with.
        pipelines: version of the module with the search pipeline processors (oversample, script,
            truncate_hits and others), which is not published for every patch release.
    """

    version: str
    java: int
    plugins: bool
    log4j: str
    pipelines: str

    def module_class(self, name: str) -> str:
        """The class of a module, from its name in 2.x; 3.x calls them all ``...ModulePlugin``."""
        if self.version.startswith("2.") or name.endswith("ModulePlugin"):
            return name
        return f"{name.removesuffix('Plugin')}ModulePlugin"


RELEASES = {
    release.version: release
    for release in (
        Release("2.19.1", java=17, plugins=True, log4j="2.21.0", pipelines="2.19.6"),
        Release("3.8.0", java=21, plugins=False, log4j="2.25.4", pipelines="3.8.0"),
    )
}

OPENSEARCH_VERSION = "2.19.1"
"""The default: the last version of which Maven has every plugin of the rerank stack."""


def release(version: str, *, plugins: bool) -> Release:
    """The release called ``version``.

    Raises:
        HomeError: no local node can be made of it, or not with the plugins.
    """
    if version not in RELEASES:
        raise HomeError(
            f"A local node can be {' or '.join(RELEASES)}, not {version}: take one of these, or set "
            "OPENSEARCH_URL to a node that runs."
        )
    if plugins and not RELEASES[version].plugins:
        raise HomeError(
            f"Maven has no plugins for OpenSearch {version}: take {OPENSEARCH_VERSION}, or set OPENSEARCH_URL "
            "to a node that has them."
        )
    return RELEASES[version]
