"""A store's pauses, on a real event loop: half a second in trouble, and one before a batch that no client waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from gearman_server.errors import StoreError
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.sql_store import LAZY_DELAY_S, PROBE_EVERY_S, SqlStore

Attempts = list[Batch]


@pytest.fixture
def attempts() -> Attempts:
    """The batches that the database was asked to write."""
    return []


@pytest.fixture
def store(tmp_path: Path, attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    write = Database.write

    def counted(database: Database, batch: Batch, *, is_repeated: bool) -> object:
        attempts.append(batch)
        return write(database, batch, is_repeated=is_repeated)

    monkeypatch.setattr(Database, "write", counted)
    opened = SqlStore(StoreSettings(f"sqlite:///{tmp_path}/jobs.db"), gevent.get_hub().loop)
    yield opened
    opened.close()


@pytest.fixture
def mark(store: SqlStore) -> Callable[[int], None]:
    """Changes something that no client waits for, and ends a pass."""

    def write(number: int) -> None:
        store.mark_schedule("nightly", ScheduleMark("every 1s", float(number)))
        store.hand_over()

    return write


def test_a_store_in_trouble_is_tried_twice_a_second(
    mark: Callable[[int], None], attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_database: Database, batch: Batch, *, is_repeated: bool) -> object:
        attempts.append(batch)
        raise StoreError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", fail)
        mark(1)
        gevent.sleep(3 * PROBE_EVERY_S + LAZY_DELAY_S)
    assert 1 < len(attempts) <= 5


def test_changes_that_no_client_waits_for_are_written_together(mark: Callable[[int], None], attempts: Attempts) -> None:
    for number in range(100):
        mark(number)
        gevent.sleep(LAZY_DELAY_S / 10)
    assert 1 < len(attempts) <= 100 / 3
