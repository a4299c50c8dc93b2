"""What the commands about search pipelines have in common: their options, and what the options lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from csrm_opensearch.native.road import Road

KEY_VARIABLE = "CSRM_RELEVANCE_KEY"
"""An environment variable and no option: options show in the list of processes."""

ProfilesFile = Annotated[Path, typer.Option("--profiles", help="The settings file with the profiles (YAML).")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="Name of the profile; needed where the file has several.")
]
OpenSearchUrl = Annotated[
    str | None, typer.Option("--opensearch", help="URL of the cluster; that of the file if not given.")
]
RelevanceUrl = Annotated[
    str | None,
    typer.Option(
        "--relevance", help="URL of the relevance service as the cluster reaches it; that of the file."
    ),
]


@contextmanager
def opened(
    profiles: Path, profile: str | None, opensearch: str | None, relevance: str | None
) -> Iterator[tuple[OpenSearch, Road]]:
    """A client of the cluster and the native road of the profile.

    Raises:
        ProfileError, NativeProfileError, ClusterError
    """
    from csrm_opensearch.cluster import connect
    from csrm_opensearch.native.road import profile_named, road_of
    from csrm_opensearch.profiles import load_settings
    from csrm_opensearch.tls import tls_context

    urls = [opensearch] if opensearch else None
    settings = load_settings(profiles, opensearch__urls=urls, relevance__url=relevance)
    road = road_of(profile_named(settings, profile), settings.relevance.url)
    cluster = settings.opensearch
    with connect(cluster.urls[0], tls_context(cluster)) as client:
        yield client, road
