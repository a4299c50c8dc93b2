"""Every error the demo raises on purpose.

DemoError              one sentence that says what to do
├── NotEnoughError     the machine has too little memory
├── PortError          no free port near the preferred one
├── ServiceError       a server of the demo ended or never became ready; names its log
└── ForeignIndexError  an index of the demo's name holds something else
"""

from __future__ import annotations


class DemoError(Exception):
    """Base of all errors raised on purpose by the demo."""


class NotEnoughError(DemoError):
    """The machine has too little memory."""


class PortError(DemoError):
    """No free port near the preferred one."""


class ServiceError(DemoError):
    """A server of the demo ended or never became ready; the message names its log."""


class ForeignIndexError(DemoError):
    """An index with a name of the demo's holds something else, and the demo would have to delete it."""
