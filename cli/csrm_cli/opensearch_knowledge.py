"""The knowledge store of the relevance service in OpenSearch: two sides that know nothing of each other.

`csrm_serve` opens it by name, with an address and a login, and gets what `csrm.knowledge.stored` needs of a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from csrm.errors import KnowledgeError
from csrm.knowledge.stored import StoredEntry, StoreState
from csrm_opensearch import knowledge_index
from csrm_opensearch.cluster import connect

SEARCH_TIMEOUT_S = 2.0
"""A query that finds nothing until then is scored without knowledge long before; the next ones shall not wait."""


class OpenSearchStore:
    """What `csrm knowledge publish` put into a cluster. Calls may come from several threads."""

    def __init__(self, url: str, login: str | None = None) -> None:
        """
        Args:
            url: of the cluster, without user and password.
            login: file with ``user:password`` on one line.

        Raises:
            KnowledgeError: the login cannot be read.
            ClusterError: ``url`` is no http(s) URL.
        """
        self._client = connect(url if login is None else _with_login(url, Path(login)))

    def state(self) -> StoreState:
        """What is published now.

        Raises:
            KnowledgeIndexError: nothing is, or a node lacks k-NN or neural-search.
            UnreachableError, ClusterRefusedError
        """
        knowledge_index.require_plugins(self._client)
        return StoreState(**knowledge_index.published(self._client))

    def find(self, query: str, vector: Sequence[float], size: int) -> list[StoredEntry]:
        """Raises: UnreachableError, ClusterRefusedError."""
        found = knowledge_index.candidates(self._client, query, vector, size, timeout_s=SEARCH_TIMEOUT_S)
        return [StoredEntry(*document) for document in found]


def _with_login(url: str, file: Path) -> str:
    try:
        user, colon, password = file.read_text(encoding="utf-8").strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeError(
            f"knowledge_login: {file} cannot be read ({type(error).__name__}): give a text file."
        ) from error
    if not (user and colon and password):
        raise KnowledgeError(f"knowledge_login: {file} has no line user:password: write one.")
    parts = urlsplit(url)
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return urlunsplit(parts._replace(netloc=netloc))
