"""The return of stored jobs from a silent database: no client waits for ever, and the jobs come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client.packet import PacketType
from gearman_server.errors import StoreError
from gearman_server.stores import loading, sql_store
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.sql_store import SqlStore

from ..broker_harness import BrokerHarness
from .by_hand import HandLoop, HandThreads, HandWriter, writer_of

TIMEOUT_S = 3.0
NOT_READABLE = [(PacketType.ERROR, b"QUEUE_ERROR\0The store can't be asked for the job")]


class Silent:
    """A broker whose store has one job; the test says when the database answers."""

    def __init__(self, make_broker: Callable[..., BrokerHarness], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads = HandThreads()
        self.broken_off: list[str] = []
        self._start(make_broker, url)
        self.harness.peer().submit(b"f", b"w", b"stored", "SUBMIT_JOB")
        self.harness.peer().send(PacketType.SUBMIT_JOB_BG, b"f", b"stored", b"w")
        self.harness.broker.end_pass()
        writer_of(self.store).end("succeeds")
        self.store._database.close()
        monkeypatch.setattr(loading, "NativeThread", self.threads.make)
        monkeypatch.setattr(loading, "monotonic", lambda: self.harness.now)
        self._start(make_broker, url)
        self.clock = self.loop.timers[-1]
        for name in ("_pages", "_look_ups"):
            rows = getattr(self.store._loading, name)
            monkeypatch.setattr(rows, "break_off", lambda name=name: self.broken_off.append(name))

    def _start(self, make_broker: Callable[..., BrokerHarness], url: str) -> None:
        self.loop = HandLoop()
        self.store = SqlStore(StoreSettings(url, TIMEOUT_S), self.loop)
        self.harness = make_broker(store=self.store)
        self.store.restore_to(self.harness.broker)

    def pass_time(self, seconds: float) -> None:
        self.harness.advance(seconds)
        self.clock.fire()


@pytest.fixture
def silent(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Silent]:
    monkeypatch.setattr(sql_store, "Writer", HandWriter)
    made = Silent(make_broker, f"sqlite:///{tmp_path}/jobs.db", monkeypatch)
    yield made
    made.store.close()


def test_a_request_with_a_unique_key_waits_no_longer_than_the_timeout(silent: Silent) -> None:
    first, second = silent.harness.peer(), silent.harness.peer()
    first.send(PacketType.SUBMIT_JOB_BG, b"f", b"stored", b"w")
    silent.pass_time(TIMEOUT_S / 2)
    second.send(PacketType.SUBMIT_JOB, b"f", b"stored", b"w")
    assert first.take() == []
    silent.pass_time(TIMEOUT_S / 2)
    assert first.take() == NOT_READABLE
    assert second.take() == []
    silent.threads.run_all()
    assert [kind for kind, _ in second.take()] == [PacketType.JOB_CREATED]
    assert first.take() == []
    assert silent.harness.status(b"f") == (1, 0, 0)


def test_a_read_that_takes_too_long_is_cancelled_and_the_next_one_has_twice_the_time(silent: Silent) -> None:
    silent.pass_time(4 * TIMEOUT_S)
    assert silent.broken_off == []
    silent.pass_time(1)
    assert silent.broken_off == ["_pages", "_look_ups"]
    silent.pass_time(8 * TIMEOUT_S)
    assert silent.broken_off == ["_pages", "_look_ups"]
    silent.pass_time(1)
    assert silent.broken_off == ["_pages", "_look_ups"] * 2
    silent.threads.run_all()
    assert silent.harness.status(b"f") == (1, 0, 0)


def test_a_page_that_was_cancelled_in_sqlite_is_read_again_and_no_row_is_set_aside(silent: Silent) -> None:
    pages: Any = silent.store._loading._pages  # type: ignore[union-attr]
    pages.page(1, -1)
    pages._connection.connection.driver_connection.set_progress_handler(lambda: 1, 1)
    with pytest.raises(StoreError) as failed:
        pages.page(1, -1)
    assert failed.value.is_lost
