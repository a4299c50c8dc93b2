"""An OpenSearch cluster as the installers see it: a client, its version, and its refusals as our errors.

Knows opensearch-py; knows neither what is installed nor where.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from opensearchpy import OpenSearch
from opensearchpy import exceptions as client_errors

from csrm_opensearch.errors import ClusterError, ClusterRefusedError, ClusterTooOldError, UnreachableError


def connect(url: str, tls: ssl.SSLContext | None = None) -> OpenSearch:
    """A client for ``url``, which may carry user and password.

    Args:
        tls: for https; the authorities of this machine are trusted where it is null.

    Raises:
        ClusterError: it is not an http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError("This is no URL of OpenSearch: write it like https://user:password@host:9200.")
    return OpenSearch(url, timeout=30, max_retries=0, ssl_context=tls)


def require_version(info: dict[str, Any], minimum: tuple[int, int], what: str) -> str:
    """The version in the answer of ``GET /``, checked for one that ``what`` works with.

    Raises:
        ClusterTooOldError: it is another product, or too old.
    """
    version = info.get("version") or {}
    number = str(version.get("number", ""))
    wanted = ".".join(map(str, minimum))
    if version.get("distribution") != "opensearch":
        raise ClusterTooOldError(
            f"The server is not OpenSearch (it says version {number or 'nothing'}): {what} need "
            f"OpenSearch {wanted} or later."
        )
    if tuple(int(part) for part in number.split(".")[:2]) < minimum:
        raise ClusterTooOldError(
            f"The cluster runs OpenSearch {number}: upgrade it, {what} need {wanted} or later."
        )
    return number


@contextmanager
def client_errors_named(client: OpenSearch, *, right: str) -> Iterator[None]:
    """Turns what opensearch-py raises into our errors.

    Args:
        right: what a user must be allowed to do, named when the cluster refuses one.
    """
    hosts = ", ".join(str(connection.host) for connection in client.transport.connection_pool.connections)
    try:
        yield
    except client_errors.SSLError as error:
        raise UnreachableError(
            f"The TLS connection to {hosts} fails: name the authority's file (ca_file) and, where one is asked "
            f"for, the client's certificate (client_cert, client_key) in the settings, or correct the URL "
            f"({reason_of(error)})."
        ) from error
    except client_errors.ConnectionError as error:
        # Who does not show the certificate that a node asks for is hung up on without a word.
        show = " show it a certificate (client_cert, client_key)," if "https:" in hosts else ""
        raise UnreachableError(
            f"No OpenSearch answers on {hosts}: start it,{show} or correct the URL ({type(error).__name__})."
        ) from error
    except client_errors.AuthenticationException as error:
        raise ClusterRefusedError(
            f"OpenSearch on {hosts} does not know this user (401): put user and password into the URL, or name "
            "the client's certificate in the settings (client_cert, client_key)."
        ) from error
    except client_errors.AuthorizationException as error:
        lacking = re.search(r"no permissions for \[([^]]+)\]", reason_of(error))
        raise ClusterRefusedError(
            f"OpenSearch on {hosts} refuses this user (403): give it the right {lacking[1] if lacking else right}, "
            "or take a user who has it."
        ) from error
    except client_errors.TransportError as error:
        if error.status_code in (429, 503):
            raise UnreachableError(
                f"OpenSearch on {hosts} cannot answer now ({error.status_code}): try again in a while "
                f"({reason_of(error)})."
            ) from error
        raise ClusterRefusedError(
            f"OpenSearch on {hosts} finds fault with what it was sent ({error.status_code}): "
            f"{reason_of(error)}."
        ) from error
    except client_errors.SerializationError as error:
        raise ClusterTooOldError(f"What answers on {hosts} is not OpenSearch: correct the URL.") from error


def reason_of(error: client_errors.TransportError) -> str:
    """What the cluster says is wrong, without a full stop."""
    info = error.info
    if isinstance(info, dict) and isinstance(info.get("error"), dict):
        return str(info["error"].get("reason", error.error)).rstrip(".")
    return str(error.error).rstrip(".")
