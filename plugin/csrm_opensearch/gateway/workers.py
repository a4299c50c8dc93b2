"""Several processes that do the same work: started, told of signals, and started anew where one dies.

Knows processes and signals; knows no gateway.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType

from prometheus_client import multiprocess

from csrm_opensearch.gateway.metrics import SHARED_FOLDER

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PAUSE_SECONDS = 1.0
"""Between the death of a process and its successor, lest a fault that is there to stay spins."""


def keep_running(work: Callable[[], None], processes: int) -> None:
    """Do the work in so many processes until TERM or INT, which they get too; as they get HUP."""
    children: set[int] = set()
    stopping = False

    def hand_on(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGHUP
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    for number in _SIGNALS:
        signal.signal(number, hand_on)

    def start() -> None:
        # no signal between the birth of a child and its place among those that are told
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if not stopping:
                children.add(_child(work))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    for _ in range(processes):
        start()
    while children:
        child, status = os.wait()
        children.discard(child)
        if SHARED_FOLDER in os.environ:
            multiprocess.mark_process_dead(child)  # type: ignore[no-untyped-call]
        if not stopping:
            log.error("a gateway process ended (%s): starting another", os.waitstatus_to_exitcode(status))
            time.sleep(_PAUSE_SECONDS)
        start()


def _child(work: Callable[[], None]) -> int:
    """The id of a new process that does the work and ends."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
