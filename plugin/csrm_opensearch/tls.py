"""How a client of OpenSearch speaks TLS, from the settings: whom it trusts, and what it shows. Knows no HTTP."""

from __future__ import annotations

import ssl

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.profiles import OpenSearchSettings


def tls_context(settings: OpenSearchSettings) -> ssl.SSLContext | None:
    """The context for the https nodes of the settings; null where there are none.

    Raises:
        ProfileError: a file cannot be used; the message names its field.
    """
    if not any(url.startswith("https:") for url in settings.urls):
        return None
    field = "ca_file"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.client_cert:
            field = "client_cert, client_key"
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except OSError as error:  # an SSLError is one too
        raise ProfileError(
            f"opensearch.{field}: the certificate files cannot be used ({error}): give files in PEM."
        ) from error
    if not settings.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
