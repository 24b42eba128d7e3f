"""What the tables show, in which order, and which columns fit."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from gearman_manager.top.columns import GAP, MARGIN, POOLS, WORKERS, arranged, fitting, pool_row, worker_row
from gearman_manager.top.wording import fitted, short, short_size, shown, shown_lines

BY_POOL = {column.title: column for column in POOLS}
BY_WORKER = {column.title: column for column in WORKERS}


def pool(name: str, state: str = "running", **values: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(
        ("min", "max", "target", "ready", "busy", "queued", "waiting", "done", "failed", "done_per_minute"), 0
    )
    return {"name": name, "state": state, "functions": [f"do_{name}"], "why": "", **numbers, "memory_bytes": 0} | values


def names(rows: Any) -> list[str]:
    return [row["name"] for row in rows]


def test_those_that_need_a_look_come_first_and_columns_bring_their_own_order() -> None:
    pools = [pool("a"), pool("b", "failing"), pool("c", waiting=3), pool("d", "paused"), pool("e", failed=2)]
    rows = [pool_row(each, ()) for each in pools]
    assert names(arranged(rows, "", BY_POOL["STATE"], is_turned=False)) == ["b", "d", "c", "a", "e"]
    assert names(arranged(rows, "", BY_POOL["POOL"], is_turned=True)) == ["e", "d", "c", "b", "a"]
    assert names(arranged(rows, "", BY_POOL["FAIL"], is_turned=False))[0] == "e"
    assert names(arranged(rows, "", BY_POOL["FAIL"], is_turned=True))[-1] == "e"


def test_a_filter_looks_for_each_word_in_name_state_and_functions() -> None:
    rows = [pool_row(each, ()) for each in (pool("email"), pool("thumbs", "paused"), pool("emails", "paused"))]
    found = {
        wanted: names(arranged(rows, wanted, BY_POOL["POOL"], is_turned=False))
        for wanted in ("EMAIL", "do_thu", "paused ema")
    }
    assert found == {"EMAIL": ["email", "emails"], "do_thu": ["thumbs"], "paused ema": ["emails"]}


def test_workers_are_counted_by_state_and_sorted_by_number() -> None:
    tile = {"pid": 1, "function": None, "handle": None, "jobs": 0, "done": 0, "failed": 0, "memory_bytes": None}
    states = ["idle", "busy", "busy", "ordered", "starting", "draining"]
    workers = [
        {**tile, "name": f"p/{n}", "state": state, "since": 5.0, "started": 1.0} for n, state in enumerate(states, 8)
    ]
    row = pool_row(pool("p"), workers)
    assert [row[name] for name in ("idle", "busy", "starting", "leaving")] == [1, 2, 2, 1]
    rows = [worker_row(worker, 9.0) for worker in workers]
    assert (rows[0]["for_s"], rows[0]["age_s"]) == (4.0, 8.0)
    assert names(arranged(rows, "", BY_WORKER["WORKER"], is_turned=False))[:3] == ["p/8", "p/9", "p/10"]


@pytest.mark.parametrize("width", [0, 1, 20, 79, 80, 90, 130, 400])
@pytest.mark.parametrize("columns", [POOLS, WORKERS], ids=["pools", "workers"])
def test_columns_fill_the_width_and_the_wide_ones_need_room(columns: Any, width: int) -> None:
    chosen = fitting(columns, width)
    total = MARGIN + sum(cells + GAP for _, cells in chosen)
    assert total <= width if width >= 80 else total >= width
    assert {"STATE", "DONE", "FAIL", "MEM"} <= {column.title for column, _ in chosen}
    assert ("WHY" in [column.title for column, _ in chosen]) == (columns is POOLS and width >= 130)


def test_numbers_are_short() -> None:
    assert [short(n) for n in (None, 0, 9999, 12_345, 123_456, 99_960, 1_234_567, 5e12)] == [
        "-", "0", "9999", "12.3k", "123k", "100k", "1.2M", "5.0T",
    ]  # fmt: skip
    assert [short_size(n) for n in (None, 512, 4096, 45_100_000, 1.2e9)] == ["-", "512B", "4.1k", "45.1M", "1.2G"]
    assert max(len(short(float(f"{digits}e{power}"))) for digits in ("1", "9.994", "9.996") for power in range(14)) <= 5


def test_foreign_texts_are_cut_and_can_not_act() -> None:
    assert shown("a\x1b[2J\nb\u202e\tc") == "a\\x1b[2J\\nb\\u202e c"
    assert len(shown("x" * 10_000_000)) < 1100
    assert len(shown_lines("x\n" * 10_000_000)) < 4100
    assert shown_lines("a\n\tb\x07") == "a\n    b\\x07"


@pytest.mark.parametrize("text", ["abc", "abcdef", "日本語のテキスト", "é" * 9, "e\u0301" * 9, "👩‍👩‍👧‍👦" * 4, ""])
@pytest.mark.parametrize("width", [0, 1, 2, 5, 9])
def test_a_cell_has_its_width_whatever_is_in_it(text: str, width: int) -> None:
    for is_right in (False, True):
        assert cell_len(fitted(shown(text), width, is_right=is_right)) == width
