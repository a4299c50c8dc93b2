"""Every error the Serve application raises on purpose.

    csrm.errors.CsrmError
    └── ServeError
        ├── RequestError            this request cannot be answered
        │   ├── BadBodyError        the body is not UTF-8, or not JSON
        │   ├── BodyTooLargeError   the body is over the limit
        │   ├── UnknownKeyError     the request brings no key, or one that is not among those of the service
        │   ├── TooSlowError        the request did not arrive, or was not answered, within the time a request may take
        │   ├── TooManyRequestsError  this caller has as many requests under way as one caller may
        │   └── UnknownModelError   the request names a model that is not served
        ├── UnavailableError        no request can be answered now
        │   ├── OverloadedError     the queue is full
        │   └── NotReadyError       no scorer has scored its first query yet, or the last one died
        └── StartError              the application cannot be started here

Each message is one sentence that says what to do. `csrm_serve.status` gives each its HTTP status.
"""

from __future__ import annotations

from csrm.errors import CsrmError


class ServeError(CsrmError):
    """Base of all errors raised on purpose by the Serve application."""


class RequestError(ServeError):
    """This request cannot be answered; others can."""


class BadBodyError(RequestError):
    """The body is not UTF-8, or not JSON."""


class BodyTooLargeError(RequestError):
    """The body is over `csrm.wire.MAX_BODY_BYTES`."""


class UnknownKeyError(RequestError):
    """The request brings no API key, or one that this service does not know."""


class TooSlowError(RequestError):
    """The request did not arrive, or was not answered, within the time that any request may take."""


class TooManyRequestsError(RequestError):
    """This caller has as many requests under way as one caller may; others are served."""


class UnknownModelError(RequestError):
    """The request names a model that is not served here."""


class UnavailableError(ServeError):
    """No request can be answered now; a later one can."""


class OverloadedError(UnavailableError):
    """As many requests wait as may wait."""


class NotReadyError(UnavailableError):
    """No scorer has scored its first query yet, or the last one died."""


class StartError(ServeError):
    """The application cannot be started here."""
