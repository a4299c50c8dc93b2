"""Questions that arrive while others are being answered are answered together, as soon as those are done.

A lone question waits for nobody. Knows asyncio and one worker thread; knows not what is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Gathering(Generic[Q, A]):
    """For one event loop. Who stops waiting before its batch begins is not asked for."""

    def __init__(
        self, answer: Callable[[Sequence[Q]], Sequence[A]], worker: Executor, *, most: int = 32
    ) -> None:
        """
        Args:
            answer: called in the worker with at most ``most`` questions; gives their answers in order.
            worker: of one thread.
            most: questions of one batch.
        """
        self._answer, self._worker, self._most = answer, worker, most
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer. Raises: what ``answer`` raised for the batch."""
        waiter: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, waiter))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await waiter

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            try:
                answers = await loop.run_in_executor(
                    self._worker, self._answer, [question for question, _ in batch]
                )
            except Exception as error:  # whose it is, the ones who asked decide
                for _, waiter in batch:
                    if not waiter.done():
                        waiter.set_exception(error)
                continue
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)
        self._running = None

    def _next(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(batch) < self._most:
            question, waiter = self._waiting.popleft()
            if not waiter.done():
                batch.append((question, waiter))
        return batch
