"""What becomes of a search when its client hangs up, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from csrm_opensearch.errors import UnreachableError
from csrm_opensearch.gateway.app import _unless_gone
from csrm_opensearch.gateway.exchange import ClientGoneError, Exchange


def client(hangs_up: asyncio.Event) -> Exchange:
    """One whose request is read, and who is gone once the event is set."""
    scope = {"method": "POST", "path": "/shop/_search", "query_string": b"", "headers": []}

    async def receive() -> MutableMapping[str, Any]:
        await hangs_up.wait()
        return {"type": "http.disconnect"}

    async def send(_: MutableMapping[str, Any]) -> None:
        pass

    return Exchange(scope, receive, send)


def run(test: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test(asyncio.Event())

    asyncio.run(bounded())


def test_work_whose_client_stays_is_done_and_nothing_is_left_behind() -> None:
    async def test(hangs_up: asyncio.Event) -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0)
            done.set()

        await _unless_gone(client(hangs_up), work())
        assert done.is_set()
        hangs_up.set()  # afterwards, which is no concern of ours
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()
        assert asyncio.all_tasks() == {task}

    run(test)


@pytest.mark.parametrize("ends_with", [asyncio.CancelledError, OSError, None])
def test_work_whose_client_is_gone_lets_go_first(ends_with: type[BaseException] | None) -> None:
    """However it takes being cancelled: some libraries raise errors of their own then."""

    async def test(hangs_up: asyncio.Event) -> None:
        let_go = asyncio.Event()

        async def work() -> None:
            try:
                hangs_up.set()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                let_go.set()
                if ends_with:
                    raise ends_with from None

        if ends_with:
            with pytest.raises(ClientGoneError):
                await _unless_gone(client(hangs_up), work())
        else:
            await _unless_gone(client(hangs_up), work())
        assert let_go.is_set()
        task = asyncio.current_task()
        assert task is not None and not task.cancelling(), "what comes next is not cancelled"
        await asyncio.sleep(0)

    run(test)


def test_what_the_work_raises_is_raised() -> None:
    async def test(hangs_up: asyncio.Event) -> None:
        async def work() -> None:
            raise UnreachableError("no node")

        with pytest.raises(UnreachableError):
            await _unless_gone(client(hangs_up), work())

    run(test)


def test_a_server_that_stops_is_no_client_that_is_gone() -> None:
    async def test(hangs_up: asyncio.Event) -> None:
        asking = asyncio.ensure_future(_unless_gone(client(hangs_up), asyncio.sleep(60)))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(test)
