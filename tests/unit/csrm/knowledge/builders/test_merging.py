"""A build against what is there: additions and changes, nothing lost, the second time nothing."""

from __future__ import annotations

import datetime

from csrm.knowledge import TermEntry
from csrm.knowledge.builders.merging import entry_id, merge


def term(id: str, meaning: str = "m", day: int | None = None) -> TermEntry:
    date = datetime.date(2026, 1, day) if day else None
    return TermEntry(id=id, source="t", term=id, meaning=meaning, date=date)


def test_new_entries_are_added_and_others_mended() -> None:
    changes = merge([term("a"), term("b"), term("c")], [term("d"), term("b", "new"), term("a")])
    assert changes.added == [term("d")]
    assert changes.changed == [term("b", "new")]
    assert changes.entries == [term("a"), term("b", "new"), term("c"), term("d")]


def test_the_second_time_there_is_nothing_to_do() -> None:
    first = merge([], [term("a", day=1), term("b", day=1)])
    second = merge(first.entries, [term("a", day=2), term("b", day=2)])
    assert (second.added, second.changed, second.entries) == ([], [], first.entries)


def test_ids_fold_what_shoppers_do_not_mean() -> None:
    assert entry_id("ubi", "ＴＶ  stand", "en") == entry_id("ubi", "tv stand", "EN")
    assert len({entry_id("ubi", "a", "b"), entry_id("ubi", "ab", ""), entry_id("x", "a", "b")}) == 3
