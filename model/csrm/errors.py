"""Every error the relevance model raises on purpose.

    CsrmError
    ├── InputError            the caller's data is wrong (HTTP 4xx)
    ├── BundleError           a bundle is missing, broken, or made for another base
    ├── BaseModelError        the base weights cannot be had or read
    ├── KnowledgeError        a knowledge snapshot is broken or made by another embedder
    ├── DeadlineExceededError the deadline passed before every product was judged
    ├── OutOfMemoryError      a batch needs more memory than there is now
    ├── TrainingError         training cannot go on: no number for a loss, or no room on the disk
    └── MissingExtraError     a part of the distribution that was not installed

Each message is one sentence that says what to do.
"""

from __future__ import annotations


class CsrmError(Exception):
    """Base of all errors raised on purpose by the relevance model."""


class InputError(CsrmError):
    """The caller's data is wrong; the message names the field."""


class BundleError(CsrmError):
    """A bundle is missing, broken, or made for another base model."""


class BaseModelError(CsrmError):
    """The base weights cannot be had or read."""


class KnowledgeError(CsrmError):
    """A knowledge snapshot is broken, or was made by another embedding engine."""


class DeadlineExceededError(CsrmError):
    """The deadline passed before every product was judged; the answer would come too late to be used."""


class TrainingError(CsrmError):
    """Training cannot go on; what was reached before is kept, and the message says where."""


class OutOfMemoryError(CsrmError):
    """A batch needs more memory than there is now; the model itself is well."""


class MissingExtraError(CsrmError):
    """A part of the distribution that was not installed is needed.

    Args:
        package: the import that failed, e.g. ``torch``.
        extra: the extra that brings it, e.g. ``serve``.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: install the '{extra}' extra with pip install 'csrm-opensearch[{extra}]'."
        )
        self.package = package
        self.extra = extra
