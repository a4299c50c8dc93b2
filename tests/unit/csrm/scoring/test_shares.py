"""Rows that are shared out over threads: all of them, in order, with torch's threads as they were."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from csrm.scoring.shares import SHARE_TOKENS, Shares, shares


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def alive() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("csrm-share")}


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 4_000))
def test_shares_divide_the_threads_and_are_not_small(threads: int, rows: int, tokens: int) -> None:
    count = shares(threads, rows, tokens)
    assert threads % count == 0
    assert count <= rows
    assert count == 1 or tokens // count >= SHARE_TOKENS


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 37])
def test_every_row_is_worked_once_and_in_order(rows: int) -> None:
    x = torch.randn(rows, 3)
    found = Shares().run(lambda some: x[some] * 2, rows, rows * SHARE_TOKENS)
    assert torch.equal(found, x * 2)


def test_shares_run_in_threads_that_have_torchs_among_them() -> None:
    seen: list[tuple[str, int, bool]] = []
    here = threading.Barrier(4, timeout=30)

    def work(rows: slice) -> Tensor:
        here.wait()  # they run at once
        seen.append(
            (threading.current_thread().name, torch.get_num_threads(), torch.is_inference_mode_enabled())
        )
        return torch.zeros(rows.stop - rows.start)

    Shares().run(work, 8, 8 * SHARE_TOKENS)
    assert len({name for name, _, _ in seen}) == 4
    assert [(threads, inference) for _, threads, inference in seen] == [(1, True)] * 4


def test_the_threads_of_others_stay_as_they_were() -> None:
    Shares().run(lambda rows: torch.zeros(rows.stop - rows.start), 8, 8 * SHARE_TOKENS)
    found = [torch.get_num_threads()]
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [4, 4]


def test_an_error_comes_back_after_all_have_ended() -> None:
    ended: list[int] = []

    def work(rows: slice) -> Tensor:
        if rows.start == 0:
            raise MemoryError("no room")
        time.sleep(0.05)
        ended.append(rows.start)
        return torch.zeros(rows.stop - rows.start)

    one = Shares()
    with pytest.raises(MemoryError, match="no room"):
        one.run(work, 4, 4 * SHARE_TOKENS)
    assert sorted(ended) == [1, 2, 3]
    assert len(one.run(lambda rows: torch.zeros(rows.stop - rows.start), 4, 4 * SHARE_TOKENS)) == 4


def test_the_threads_end_with_it() -> None:
    others = alive()
    one = Shares()
    one.run(lambda rows: torch.zeros(rows.stop - rows.start), 4, 4 * SHARE_TOKENS)
    its = alive() - others
    assert len(its) == 4
    del one
    gc.collect()
    for thread in its:
        thread.join(30)
    assert not alive() & its
