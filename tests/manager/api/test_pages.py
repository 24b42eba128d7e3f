"""Pages of lists of which all is at hand."""

from __future__ import annotations

import pytest

from gearman_manager.api.pages import NO_CURSOR, cursor_of, stretch_of
from gearman_manager.errors import ManagerError


def key(row: dict[str, str]) -> tuple[str, str]:
    return row["pool"], row["name"]


def rows(*names: str) -> list[dict[str, str]]:
    return [{"pool": name[0], "name": name} for name in names]


def test_each_row_is_on_one_page_and_a_page_says_where_it_stands() -> None:
    every = rows("b2", "a1", "b1", "a3", "a2")
    first = stretch_of(every, key, None, 2)
    assert ([row["name"] for row in first.rows], first.before, first.count) == (["a1", "a2"], 0, 5)
    second = stretch_of(every, key, first.next, 2)
    assert ([row["name"] for row in second.rows], second.before) == (["a3", "b1"], 2)
    last = stretch_of(every, key, second.next, 2)
    assert ([row["name"] for row in last.rows], last.before, last.next) == (["b2"], 4, None)
    assert stretch_of(every, key, None, 5).next is None
    assert stretch_of([], key, None, 5).count == 0


def test_what_goes_meanwhile_makes_no_gap() -> None:
    first = stretch_of(rows("a1", "a2", "a3", "a4"), key, None, 2)
    second = stretch_of(rows("a3", "a4", "b1"), key, first.next, 2)
    assert ([row["name"] for row in second.rows], second.before) == (["a3", "a4"], 0)
    assert second.next is not None
    assert stretch_of(rows("a1"), key, second.next, 2).rows == []


@pytest.mark.parametrize("cursor", ["!", "bm8", cursor_of({"in": "a"}), cursor_of({"before": "1"})])
def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    with pytest.raises(ManagerError, match=NO_CURSOR):
        stretch_of(rows("a1"), key, cursor, 2)
