"""Questions that wait together are answered together; the fate of one batch is not that of the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from csrm_serve.gathering import Gathering


class Doubling:
    """Answers twice what it is asked, once the gate is open; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.began = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.began.set()
        assert self.gate.wait(10)
        if 13 in numbers:
            raise ValueError("thirteen")
        return [2 * number for number in numbers]


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


async def test_a_lone_question_waits_for_nobody() -> None:
    double = Doubling()
    double.gate.set()
    assert await Gathering(double, ThreadPoolExecutor(1)).ask(4) == 8
    assert double.batches == [[4]]


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    double = Doubling()
    gathering = Gathering(double, ThreadPoolExecutor(1), most=3)
    asked = [asyncio.create_task(gathering.ask(0))]
    await until(double.began)
    asked += [asyncio.create_task(gathering.ask(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    double.gate.set()
    assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8, 10]
    assert double.batches == [[0], [1, 2, 3], [4, 5]]


async def test_a_failure_is_told_to_those_of_its_batch_alone() -> None:
    double = Doubling()
    gathering = Gathering(double, ThreadPoolExecutor(1), most=2)
    first = asyncio.create_task(gathering.ask(1))
    await until(double.began)
    failing = [asyncio.create_task(gathering.ask(number)) for number in (13, 2)]
    later = asyncio.create_task(gathering.ask(3))
    await asyncio.sleep(0)
    double.gate.set()
    assert await first == 2
    for one in failing:
        with pytest.raises(ValueError, match="thirteen"):
            await one
    assert await later == 6
    assert await gathering.ask(5) == 10


async def test_who_left_is_not_asked_for() -> None:
    double = Doubling()
    gathering = Gathering(double, ThreadPoolExecutor(1))
    first = asyncio.create_task(gathering.ask(1))
    await until(double.began)
    left, stayed = (asyncio.create_task(gathering.ask(number)) for number in (2, 3))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    double.gate.set()
    assert await asyncio.gather(first, stayed) == [2, 6]
    assert double.batches == [[1], [3]]
