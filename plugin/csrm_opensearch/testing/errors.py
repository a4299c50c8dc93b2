"""Every error of getting an OpenSearch node for development, demo and tests.

    CsrmOpenSearchError
    └── NodeError                   no node can be had
        ├── NodeUrlError            the node that OPENSEARCH_URL names does not answer, or lacks a plugin
        ├── ContainerError          the container engine could not run the OpenSearch image
        ├── JavaError               no Java, one that is too old, or one without its compiler
        ├── MavenError              no Maven, or it could not fetch OpenSearch
        ├── HomeError               the folder that keeps OpenSearch cannot be written
        ├── PortTakenError          the port that was asked for is in use
        ├── NotEnoughMemoryError    the machine has too little free memory for the heap
        └── NodeStartError          the node started and did not come up; carries the end of its log

Each message is one sentence that says what to do.
"""

from __future__ import annotations

from csrm_opensearch.errors import CsrmOpenSearchError


class NodeError(CsrmOpenSearchError):
    """Base of all reasons why no OpenSearch node can be had."""


class NodeUrlError(NodeError):
    """The node that OPENSEARCH_URL names does not answer as OpenSearch, or lacks a plugin that is needed."""


class ContainerError(NodeError):
    """The container engine answers but could not run the OpenSearch image."""


class JavaError(NodeError):
    """No Java was found, or it is too old, or it is a JRE without the compiler."""


class MavenError(NodeError):
    """Maven was not found, or it could not fetch the artifacts of OpenSearch."""


class HomeError(NodeError):
    """The folder that keeps the software of local nodes cannot be written."""


class PortTakenError(NodeError):
    """The port that was asked for is in use."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is in use: take another port, or none to get a free one.")
        self.port = port


class NotEnoughMemoryError(NodeError):
    """The machine has too little free memory for the heap."""


class NodeStartError(NodeError):
    """The node was started and did not come up.

    Args:
        reason: one sentence.
        log_tail: the last lines that the node logged; also the end of the message.
    """

    def __init__(self, reason: str, log_tail: str = "") -> None:
        super().__init__(f"{reason}\nThe end of its log:\n{log_tail}" if log_tail else reason)
        self.log_tail = log_tail
