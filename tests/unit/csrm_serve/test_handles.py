"""How long a call of another deployment is waited for, and that it is taken back where nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest
from grpc import StatusCode  # type: ignore[import-untyped]
from grpc.aio import AioRpcError, Metadata  # type: ignore[import-untyped]

from csrm_serve.errors import NotReadyError
from csrm_serve.handles import _cause, _within


class Call:
    """Never answers; notes that it was taken back, as Serve's own response does."""

    def __init__(self) -> None:
        self.taken_back = False

    def __await__(self) -> Generator[object, None, None]:
        return asyncio.sleep(600).__await__()

    def cancel(self) -> None:
        self.taken_back = True


async def test_a_late_call_is_taken_back() -> None:
    call = Call()
    with pytest.raises(TimeoutError):
        await _within(0.01, call)
    assert call.taken_back


async def test_a_call_whose_caller_goes_away_is_taken_back() -> None:
    call = Call()
    waiting = asyncio.create_task(_within(600, call))
    await asyncio.sleep(0)
    assert not call.taken_back
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.taken_back


def broken_off(code: StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details="a replica")


@pytest.mark.parametrize("code", [StatusCode.CANCELLED, StatusCode.UNAVAILABLE])
def test_a_replica_that_went_away_comes_again(code: StatusCode) -> None:
    assert isinstance(_cause(broken_off(code)), NotReadyError)


@pytest.mark.parametrize(
    "code", [StatusCode.UNAUTHENTICATED, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED]
)
def test_what_waiting_does_not_mend_is_not_said_to_be_mended(code: StatusCode) -> None:
    with pytest.raises(AioRpcError):
        _cause(broken_off(code))
