"""The rules of the window: what stays, in which order, and that pages are one list cut up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csrm.wire import Judgment
from csrm_opensearch.window import Outcome, decide, place
from tests.unit.csrm_opensearch.judgments import judgment, judgments


def test_best_first_and_removed_apart() -> None:
    window = [judgment(0.2), judgment(0.1, 0.9, remove=True), judgment(0.9), judgment(0.2)]
    assert decide(window, min_keep=1, reorder=True) == Outcome(kept=(2, 0, 3), removed=(1,))


def test_a_client_sort_is_only_filtered() -> None:
    window = [judgment(0.2), judgment(0.1, 0.9, remove=True), judgment(0.9)]
    assert decide(window, min_keep=1, reorder=False) == Outcome(kept=(0, 2), removed=(1,))


def test_products_without_text_keep_their_place_among_the_kept() -> None:
    window = [judgment(0.1), None, judgment(0.5, 0.9, remove=True), judgment(0.9), None, judgment(0.5)]
    assert decide(window, min_keep=1, reorder=True).kept == (3, 1, 5, 4, 0)


def test_min_keep_spares_the_least_irrelevant() -> None:
    window = [
        judgment(0.3, 0.9, remove=True),
        judgment(0.1, 0.7, remove=True),
        judgment(0.2, 0.7, remove=True),
    ]
    assert decide(window, min_keep=0, reorder=True) == Outcome((), (0, 1, 2))
    assert decide(window, min_keep=1, reorder=True) == Outcome((1,), (0, 2))
    assert decide(window, min_keep=2, reorder=True) == Outcome((2, 1), (0,))
    assert decide(window, min_keep=9, reorder=True) == Outcome((0, 2, 1), ())


@given(judgments, st.integers(0, 40), st.booleans())
def test_every_product_is_kept_or_removed_once(
    window: list[Judgment | None], min_keep: int, reorder: bool
) -> None:
    outcome = decide(window, min_keep=min_keep, reorder=reorder)
    assert sorted(outcome.kept + outcome.removed) == list(range(len(window)))
    assert all((j := window[rank]) and j.decision == "remove" for rank in outcome.removed)
    assert len(outcome.kept) >= min(min_keep, len(window))
    if reorder:
        scores = [j.score for rank in outcome.kept if (j := window[rank])]
        assert scores == sorted(scores, reverse=True)
    else:
        assert list(outcome.kept) == sorted(outcome.kept)


@given(judgments, st.integers(0, 60), st.lists(st.integers(1, 17), min_size=1))
def test_pages_of_any_sizes_are_the_one_list_cut_up(
    window: list[Judgment | None], beyond: int, sizes: list[int]
) -> None:
    outcome = decide(window, min_keep=1, reorder=True)
    lexical = list(range(len(window) + beyond))
    whole = [*outcome.kept, *lexical[len(window) :]]
    pages, start = [], 0
    for size in sizes * (len(whole) + 1):
        page = place(outcome, start, size)
        pages += [*page.kept, *lexical[page.start : page.start + page.size]]
        start += size
        if start >= len(whole):
            break
    assert pages == whole
