"""The rules of the window: what stays, in which order, and that pages are one list cut up."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from csrm.wire import Judgment
from csrm_opensearch.window import Order, Outcome, by_relevance, decide, lexical, place
from tests.unit.csrm_opensearch.judgments import judgment, judgments


def best_first(window: Sequence[Judgment | None]) -> Order:
    return Order(((1.0, by_relevance(window)),))


def test_best_first_and_removed_apart() -> None:
    window = [judgment(0.2), judgment(0.1, 0.9, remove=True), judgment(0.9), judgment(0.2)]
    assert decide(window, min_keep=1, order=best_first(window)) == Outcome(kept=(2, 0, 3), removed=(1,))


def test_a_client_sort_is_only_filtered() -> None:
    window = [judgment(0.2), judgment(0.1, 0.9, remove=True), judgment(0.9)]
    assert decide(window, min_keep=1, order=None) == Outcome(kept=(0, 2), removed=(1,))


def test_products_without_text_keep_their_place_among_the_kept() -> None:
    window = [judgment(0.1), None, judgment(0.5, 0.9, remove=True), judgment(0.9), None, judgment(0.5)]
    assert decide(window, min_keep=1, order=best_first(window)).kept == (3, 1, 5, 4, 0)


def test_min_keep_spares_the_least_irrelevant() -> None:
    window = [
        judgment(0.3, 0.9, remove=True),
        judgment(0.1, 0.7, remove=True),
        judgment(0.2, 0.7, remove=True),
    ]
    assert decide(window, min_keep=0, order=best_first(window)) == Outcome((), (0, 1, 2))
    assert decide(window, min_keep=1, order=best_first(window)) == Outcome((1,), (0, 2))
    assert decide(window, min_keep=2, order=best_first(window)) == Outcome((2, 1), (0,))
    assert decide(window, min_keep=9, order=best_first(window)) == Outcome((0, 2, 1), ())


@given(judgments, st.integers(0, 40), st.booleans())
def test_every_product_is_kept_or_removed_once(
    window: list[Judgment | None], min_keep: int, reorder: bool
) -> None:
    outcome = decide(window, min_keep=min_keep, order=best_first(window) if reorder else None)
    assert sorted(outcome.kept + outcome.removed) == list(range(len(window)))
    assert all((j := window[rank]) and j.decision == "remove" for rank in outcome.removed)
    assert len(outcome.kept) >= min(min_keep, len(window))
    if reorder:
        scores = [j.score for rank in outcome.kept if (j := window[rank])]
        assert scores == sorted(scores, reverse=True)
    else:
        assert list(outcome.kept) == sorted(outcome.kept)


@given(judgments, st.integers(0, 5))
def test_products_that_were_not_judged_stay_where_the_lexical_order_has_them(
    window: list[Judgment | None], min_keep: int
) -> None:
    ordered = decide(window, min_keep=min_keep, order=best_first(window))
    lexically = decide(window, min_keep=min_keep, order=None)
    assert ordered.removed == lexically.removed
    for place_, (rank, own) in enumerate(zip(ordered.kept, lexically.kept, strict=True)):
        assert (window[rank] is None) == (window[own] is None), place_
        assert window[own] is not None or rank == own


@given(judgments, st.integers(0, 60), st.lists(st.integers(1, 17), min_size=1))
def test_pages_of_any_sizes_are_the_one_list_cut_up(
    window: list[Judgment | None], beyond: int, sizes: list[int]
) -> None:
    outcome = decide(window, min_keep=1, order=best_first(window))
    ranks = list(range(len(window) + beyond))
    whole = [*outcome.kept, *ranks[len(window) :]]
    pages, start = [], 0
    for size in sizes * (len(whole) + 1):
        page = place(outcome, start, size)
        pages += [*page.kept, *ranks[page.start : page.start + page.size]]
        start += size
        if start >= len(whole):
            break
    assert pages == whole


def test_a_blend_lies_between_its_orders() -> None:
    window = [judgment(0.1), judgment(0.2), judgment(0.9)]
    relevance, own = by_relevance(window), lexical(3)

    def kept(*orders: tuple[float, Sequence[float]]) -> tuple[int, ...]:
        return decide(window, min_keep=1, order=Order(orders)).kept

    assert kept((1.0, relevance)) == (2, 1, 0)
    assert kept((1.0, relevance), (0.001, own)) == (2, 1, 0)
    assert kept((0.001, relevance), (1.0, own)) == (0, 1, 2)
    assert kept((1.0, relevance), (1.0, own)) == (0, 2, 1), "1/60 + 1/62 twice, the lexically first wins"
    assert kept((1.0, relevance), (3.0, [5.0, float("-inf"), float("-inf")])) == (0, 2, 1)


@given(judgments, st.floats(0.01, 10), st.floats(0.01, 10))
def test_a_blend_of_orders_that_agree_is_that_order(
    window: list[Judgment | None], first: float, second: float
) -> None:
    relevance = by_relevance(window)
    blend = Order(((first, relevance), (second, [2 * figure for figure in relevance])))
    assert decide(window, min_keep=1, order=blend) == decide(window, min_keep=1, order=best_first(window))
