"""The work of bringing stored jobs back. It is counted, not timed: four times the jobs are four times the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from sqlite3 import Connection
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine.base import Engine
from sqlalchemy.pool.base import _ConnectionRecord

from gearman_server.stores import loading, reading, sql_store
from gearman_server.stores.rows import waiting_row
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.sql_store import SqlStore

from ..broker_harness import BrokerHarness
from .by_hand import HandLoop, HandThreads, HandWriter

FEW = 1500
FUNCTIONS = 50
#: Rows per page: few, so that the work that is repeated for each page shows too.
PAGE_ROWS = 10
#: One count for this many of SQLite's own instructions.
SAMPLE = 20


def row(number: int, unix_time: float) -> tuple[bytes | float | int | None, ...]:
    """Jobs of all kinds: with a unique key, delayed, tried before, running when their server ended."""
    return waiting_row(
        id=number,
        state=int(number % 11 == 0),
        priority=number % 3,
        requeues=int(number % 7 == 0),
        failures=int(number % 5 == 0),
        run_at=unix_time + 3600 if number % 6 == 0 else None,
        submitted_at=unix_time - 60,
        handle=b"H:test:%d" % number,
        function_name=b"f%d" % (number % FUNCTIONS),
        unique_key=b"u%d" % number if number % 2 else b"",
        last_error=b"boom" if number % 5 == 0 else None,
        workload=b"w" * 50,
    )


class Work:
    """Counts the steps of SQLite and Python in its context."""

    def __init__(self) -> None:
        self.sqlite = self.python = 0
        event.listen(Engine, "connect", self._watch)

    def _watch(self, driver_connection: Connection, _record: _ConnectionRecord) -> None:
        driver_connection.set_progress_handler(self._note_instructions, SAMPLE)

    def _note_instructions(self) -> None:
        self.sqlite += 1

    def _note_line(self, _frame: FrameType, what: str, _argument: object) -> Any:
        self.python += what == "line"
        return self._note_line

    def __enter__(self) -> Work:
        self._tracer = sys.gettrace()
        sys.settrace(self._note_line)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.settrace(self._tracer)
        event.remove(Engine, "connect", self._watch)


@pytest.fixture
def load(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Work]:
    """Makes a server find a number of jobs in its store: `load(1000)`; returns the work of bringing them back."""
    monkeypatch.setattr(sql_store, "Writer", HandWriter)
    threads = HandThreads()
    monkeypatch.setattr(loading, "NativeThread", threads.make)
    monkeypatch.setattr(reading, "PAGE_ROWS", PAGE_ROWS)
    numbers = count()

    def load(jobs: int) -> Work:
        url = f"sqlite:///{tmp_path}/{next(numbers)}.db"
        earlier = SqlStore(StoreSettings(url), HandLoop())
        unix_time = make_broker().unix_time
        earlier._database.insert_rows([[row(number, unix_time) for number in range(1, jobs + 1)]])
        earlier._database.close()
        work = Work()
        store = SqlStore(StoreSettings(url), HandLoop())
        broker = make_broker(store=store)
        with work:
            store.restore_to(broker.broker)
            threads.run_all()
        assert len(broker.broker.table.jobs) == jobs
        assert not broker.broker.functions.unread.is_reading
        store.close()
        return work

    return load


def test_four_times_the_jobs_are_four_times_the_work(load: Callable[[int], Work]) -> None:
    few, many = load(FEW), load(4 * FEW)
    # Each is one step at least; the square would be sixteen times.
    assert few.sqlite * SAMPLE > FEW
    assert few.python > FEW
    assert many.sqlite < 5 * few.sqlite
    assert many.python < 5 * few.python
