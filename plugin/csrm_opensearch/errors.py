"""Every error the OpenSearch side raises on purpose.

    CsrmOpenSearchError
    ├── GatewayError
    │   ├── ProfileError           the settings file is missing, not YAML, or a field of it is wrong
    │   ├── ListenError            the address to listen on cannot be had
    │   ├── RequestOptionsError    a field of a search's ``ext.csrm`` is wrong (HTTP 400)
    │   ├── BodyTooLargeError      a search body is larger than the gateway reads
    │   ├── UnreachableError       no OpenSearch node answers (HTTP 503)
    │   ├── BrokenAnswerError      OpenSearch hung up before it had answered (HTTP 502)
    │   └── RelevanceError         no judgments; the search falls back to OpenSearch's own page
    │       ├── RelevanceLateError     not within the time budget
    │       ├── RelevanceBusyError     too many searches already wait for judgments
    │       ├── RelevanceOpenError     the circuit breaker is open
    │       ├── RelevanceDownError     no connection, or an HTTP error of the service
    │       ├── RelevanceMissedError   page 1 of this search had no judgments just now, so this page has none
    │       ├── RelevanceRefusedError  the service finds fault with the request
    │       │   ├── RelevanceUnknownKeyError   it asks for a key, or does not know ours
    │       │   └── RelevanceModelError        the model that is asked for is not served, or not up
    │       └── RelevanceGarbageError  an answer, but not one judgment for every product
    ├── ClusterError               a cluster cannot be worked with
    │   ├── ClusterTooOldError         it is no OpenSearch, or too old a one
    │   ├── KnowledgeIndexError        it cannot hold knowledge, or holds none
    │   └── ClusterRefusedError        it says no: no rights, or it finds fault with what it was sent
    ├── TemplateError              the templates cannot be installed or checked
    │   └── TemplateConflictError      a template of that name is somebody else's
    └── NativeError                OpenSearch's own search pipeline cannot be installed or taken back
        ├── NativeProfileError         the profile, or an address, does not fit a search pipeline
        ├── PluginsMissingError        a node lacks ml-commons, neural-search or the common processors
        ├── SettingsNeededError        the cluster's settings do not allow the model; they must change first
        ├── PipelineConflictError      a pipeline of that name is somebody else's
        └── ModelNotReadyError         the cluster did not deploy the model

Each message is one sentence that says what to do. The ``reason`` of a RelevanceError is the word in
``csrm-status``.
"""

from __future__ import annotations

from typing import ClassVar


class CsrmOpenSearchError(Exception):
    """Base of all errors raised on purpose by the OpenSearch side."""


class GatewayError(CsrmOpenSearchError):
    """Base of all errors raised on purpose by the gateway."""


class ProfileError(GatewayError):
    """The settings file is missing, not YAML, or a field of it is wrong; the message names file and field."""


class ListenError(GatewayError):
    """The address to listen on cannot be had."""


class RequestOptionsError(GatewayError):
    """A field of a search's ``ext.csrm`` is wrong; the message names the field."""


class BodyTooLargeError(GatewayError):
    """A search body is larger than the gateway reads.

    Args:
        head: what was read of the body so far; the rest is still to come from the client.
    """

    def __init__(self, head: bytes) -> None:
        super().__init__(f"The search body is larger than {len(head)} bytes.")
        self.head = head


class UnreachableError(GatewayError):
    """No OpenSearch node answers; the message names the nodes."""


class BrokenAnswerError(GatewayError):
    """OpenSearch hung up before it had answered; the message names the node."""


class RelevanceError(GatewayError):
    """No judgments for this search; the shopper gets OpenSearch's own page."""

    reason: ClassVar[str] = "relevance-error"


class RelevanceLateError(RelevanceError):
    """The relevance service did not answer within the time budget."""

    reason = "deadline"


class RelevanceBusyError(RelevanceError):
    """Too many searches already wait for judgments."""

    reason = "busy"


class RelevanceOpenError(RelevanceError):
    """The circuit breaker is open: the relevance service failed too often just now."""

    reason = "breaker-open"


class RelevanceMissedError(RelevanceError):
    """Page 1 of this search was OpenSearch's own just now: so is this one, lest a product shows up twice."""

    reason = "page-1-skipped"


class RelevanceDownError(RelevanceError):
    """The relevance service cannot be reached, or answered with an HTTP error."""

    reason = "relevance-down"


class RelevanceRefusedError(RelevanceError):
    """The relevance service finds fault with the request (HTTP 4xx); the service itself is well."""

    reason = "relevance-refused"


class RelevanceUnknownKeyError(RelevanceRefusedError):
    """The relevance service asks for a key, or does not know the gateway's (HTTP 401)."""

    reason = "relevance-key"


class RelevanceModelError(RelevanceRefusedError):
    """The model that the profile or the search names is not served (HTTP 404), or not up yet (503)."""

    reason = "relevance-model"


class RelevanceGarbageError(RelevanceError):
    """The relevance service answered, but not with one sound judgment for every product."""

    reason = "relevance-garbage"


class ClusterError(CsrmOpenSearchError):
    """A cluster cannot be worked with."""


class ClusterTooOldError(ClusterError):
    """The cluster is no OpenSearch, or older than what is installed needs."""


class ClusterRefusedError(ClusterError):
    """The cluster says no: the user has no rights, or it finds fault with what it was sent."""


class KnowledgeIndexError(ClusterError):
    """The cluster cannot hold knowledge entries with their vectors, or holds none."""


class TemplateError(CsrmOpenSearchError):
    """The templates cannot be installed or checked."""


class TemplateConflictError(TemplateError):
    """A template of that name is in the cluster and was not installed by us."""


class NativeError(CsrmOpenSearchError):
    """OpenSearch's own search pipeline cannot be installed or taken back."""


class NativeProfileError(NativeError):
    """The profile, or an address, does not fit a search pipeline; the message names the field."""


class PluginsMissingError(NativeError):
    """A node lacks processors that the pipeline is made of; the message names nodes and plugins."""


class SettingsNeededError(NativeError):
    """The cluster's settings do not allow the model yet; nothing was changed."""


class PipelineConflictError(NativeError):
    """A search pipeline of that name is in the cluster and was not installed by us."""


class ModelNotReadyError(NativeError):
    """The cluster registered the model and did not deploy it in time."""
