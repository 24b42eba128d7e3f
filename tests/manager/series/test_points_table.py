"""Points in a real file: minutes, hours, what is too old, and a file that is nearly full."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gearman_manager.history.history_file import FILE_NAME, HistoryFile
from gearman_manager.series import points_table as table

HOUR = table.HOUR_S * 1000


@pytest.fixture
def file(tmp_path: Path) -> Iterator[HistoryFile]:
    made = HistoryFile(tmp_path / FILE_NAME)
    for statement in table.TABLES:
        made.declare(statement)
    yield made
    made.close()


def number(file: HistoryFile, name: str = "mail") -> int:
    return file.run(partial(table.numbers, [("pool", name)], HOUR))["pool", name]


def write(file: HistoryFile, series: int, *minutes: int) -> None:
    for minute in minutes:
        at = HOUR + minute * 60
        file.run(partial(table.write, table.MINUTE_S, at, {series: b"%d" % minute}))


def read(file: HistoryFile, begin: int = 0, end: int = 2 * HOUR, step: int = table.MINUTE_S) -> dict[int, bytes]:
    return file.run(partial(table.points_of, ("pool", "mail"), step, begin, end))


def test_a_series_is_read_by_its_time_alone(file: HistoryFile) -> None:
    mine, other = number(file), number(file, "other")
    write(file, other, 1, 2, 3)
    write(file, mine, 1, 3, 5)
    assert number(file) == mine
    assert read(file, HOUR, HOUR + 300) == {HOUR + 60: b"1", HOUR + 180: b"3"}
    assert read(file, HOUR, HOUR) == {}
    assert file.run(partial(table.points_of, ("pool", "unknown"), 60, HOUR, HOUR + 60)) == {}


def test_an_hour_is_to_be_summed_once_it_is_over_also_after_a_pause(file: HistoryFile) -> None:
    mine = number(file)
    due = partial(table.hour_to_sum, HOUR + table.HOUR_S - 60)
    write(file, mine, 0, 59)
    assert file.run(due) is None
    later = partial(table.hour_to_sum, HOUR + 5 * table.HOUR_S)
    assert file.run(later) == HOUR
    file.run(partial(table.write, table.HOUR_S, HOUR, {mine: b"sum"}))
    assert file.run(later) is None
    write(file, mine, 125)
    assert file.run(later) == HOUR + 2 * table.HOUR_S
    assert read(file, HOUR, HOUR + table.HOUR_S, table.HOUR_S) == {HOUR: b"sum"}


def test_what_is_too_old_goes_with_its_name(file: HistoryFile) -> None:
    mine = number(file)
    write(file, mine, 1, 2, 3)
    file.run(partial(table.add_marks, [(HOUR + 1, "start", "", "old"), (HOUR + 400, "start", "", "new")]))
    file.run(partial(table.trim, {table.MINUTE_S: HOUR + 120, table.HOUR_S: HOUR + 120}, HOUR + 600))
    assert [*read(file, HOUR, HOUR + 600)] == [HOUR + 120, HOUR + 180]
    assert [mark[3] for mark in file.run(partial(table.marks_between, 0, 2 * HOUR, 9))] == ["new"]
    assert file.run(partial(table.names_of, "pool")) == {mine: "mail"}
    file.run(partial(table.trim, {table.MINUTE_S: HOUR + 9999, table.HOUR_S: HOUR + 9999}, HOUR + 9999))
    assert file.run(partial(table.names_of, "pool")) == {}


def test_a_clock_that_was_ahead_ends_no_sums_and_leaves_nothing_behind(file: HistoryFile) -> None:
    mine, now, future = number(file), HOUR + 2 * table.HOUR_S, 30 * 24 * table.HOUR_S
    for step in (table.MINUTE_S, table.HOUR_S):
        file.run(partial(table.write, step, HOUR + future, {mine: b"future"}))
    file.run(partial(table.add_marks, [(HOUR + 1, "start", "", "now"), (HOUR + future, "start", "", "future")]))
    write(file, mine, 30, 90)
    assert file.run(partial(table.hour_to_sum, now)) == HOUR
    file.run(partial(table.write, table.HOUR_S, HOUR, {mine: b"sum"}))
    assert file.run(partial(table.hour_to_sum, now)) == HOUR + table.HOUR_S
    file.run(partial(table.trim, {table.MINUTE_S: HOUR, table.HOUR_S: HOUR}, now))
    end = HOUR + 2 * future
    assert [*read(file, 0, end)] == [HOUR + 1800, HOUR + 5400]
    assert read(file, 0, end, table.HOUR_S) == {HOUR: b"sum"}
    assert [mark[3] for mark in file.run(partial(table.marks_between, 0, end, 9))] == ["now"]
    file.run(partial(table.trim, {table.MINUTE_S: now + 9999, table.HOUR_S: now + 9999}, now + 9999))
    assert file.run(partial(table.names_of, "pool")) == {}


def test_series_that_are_too_many_get_no_number(file: HistoryFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_NAMES", 2)
    assert len(file.run(partial(table.numbers, [("pool", str(n)) for n in range(5)], HOUR))) == 2


def test_a_file_that_is_nearly_full_loses_its_oldest_minutes(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / FILE_NAME, 256 * 1024)
    for statement in table.TABLES:
        file.declare(statement)
    mine = number(file)
    for minute in range(1200):
        at = HOUR + minute * 60
        file.run(partial(table.write, table.MINUTE_S, at, {mine: b"x" * 400}))
        file.run(partial(table.trim, {table.MINUTE_S: 0, table.HOUR_S: 0}, at))
    times = sorted(read(file, HOUR, HOUR + 1200 * 60))
    assert times[-1] == HOUR + 1199 * 60  # the newest is there
    assert 200 < len(times) < 600
    file.close()


def test_numbers_begin_anew_with_a_file_that_was_broken(file: HistoryFile, tmp_path: Path) -> None:
    number(file)
    file.close()
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    assert number(file) == 1
    with sqlite3.connect(tmp_path / FILE_NAME) as again:
        assert again.execute("SELECT count(*) FROM series").fetchone() == (1,)
