"""Rows of a batch, shared out over threads that each run all layers of their share.

That beats many threads in each product: nobody waits for the slowest after every step, and what is between the
products runs on all cores too. Where shares would be small, torch's own threads make up the rest.

Knows threads and rows; knows no model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import torch
from torch import Tensor

SHARE_TOKENS = 64
"""Fewest tokens of a share: with less, reading the weights takes longer than multiplying by them."""


class Shares:
    """Threads for the shares of a batch; they begin with the first batch that is shared, and end with this object."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def run(self, work: Callable[[slice], Tensor], rows: int, tokens: int) -> Tensor:
        """What ``work`` makes of all rows, (rows, ...).

        Args:
            work: of some of the rows; called in inference mode, in several threads at once.
            rows: how many there are.
            tokens: of all rows, padding included.

        Raises:
            Exception: the first that a share raised, once all have ended.
        """
        threads = torch.get_num_threads()
        count = shares(threads, rows, tokens)
        if count == 1:
            return work(slice(0, rows))
        cuts = [rows * i // count for i in range(count + 1)]
        pool = self._pool(count, threads)
        running = [pool.submit(_in_inference, work, slice(*cut)) for cut in pairwise(cuts)]
        wait(running)
        return torch.cat([share.result() for share in running])

    def _pool(self, count: int, threads: int) -> ThreadPoolExecutor:
        """As many threads, which have torch's threads among them."""
        if (found := self._pools.get((count, threads))) is not None:
            return found
        all_here = threading.Barrier(count)
        pool = ThreadPoolExecutor(count, "csrm-share", _begin, (threads // count,))
        try:
            wait([pool.submit(all_here.wait) for _ in range(count)])
        finally:
            torch.set_num_threads(threads)  # the last word holds for every thread that uses torch later
        self._pools[count, threads] = pool
        return pool


def shares(threads: int, rows: int, tokens: int) -> int:
    """Into how many shares a batch is cut: a divisor of the threads."""
    most = min(threads, rows, max(1, tokens // SHARE_TOKENS))
    return max(count for count in range(1, most + 1) if threads % count == 0)


def _begin(threads: int) -> None:
    torch.get_num_threads()  # a thread's first call of this kind takes what holds for all, and would undo the next line
    torch.set_num_threads(threads)


def _in_inference(work: Callable[[slice], Tensor], rows: slice) -> Tensor:
    with torch.inference_mode():
        return work(rows)
