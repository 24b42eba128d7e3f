"""The end of a server whose last batch can't be written: what depends on its jobs is not written either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import gevent
import gevent.socket
import pytest

from gearman_server import Server, ServerSettings, StoreSettings, read_policies
from gearman_server.errors import StoreError
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database

from .conftest import StoreDatabase


class LastWrite:
    """The first write of a batch with jobs fails, though only when the server is ending already."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_fail = threading.Event()

    def fail(self) -> None:
        self.has_begun.set()
        self.may_fail.wait(20)
        raise StoreError("no")


@pytest.fixture
def last_write(monkeypatch: pytest.MonkeyPatch) -> LastWrite:
    write, last = Database.write, LastWrite()

    def write_or_fail(database: Database, batch: Batch, *, is_repeated: bool) -> object:
        if batch.inserts and not last.has_begun.is_set():
            last.fail()
        return write(database, batch, is_repeated=is_repeated)

    monkeypatch.setattr(Database, "write", write_or_fail)
    return last


@pytest.fixture
def server(database: StoreDatabase, tmp_path: Path) -> Iterator[Server]:
    path = tmp_path / "policies.yaml"
    path.write_text("schedules:\n  tick: {every: 1h, function: f}\n")
    settings = ServerSettings(store=StoreSettings(database.url), policies=read_policies(str(path)))
    with Server("127.0.0.1:0", settings=settings) as started:
        yield started


def test_the_mark_of_a_run_whose_job_is_not_stored_is_set_back(
    server: Server, database: StoreDatabase, last_write: LastWrite
) -> None:
    with gevent.socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(b"schedules trigger tick\n")
        while not last_write.has_begun.is_set():
            gevent.sleep(0.005)
    threading.Timer(0.1, last_write.may_fail.set).start()
    server.stop()
    assert database.rows("id") == []
    assert database.rows("last_run", "gearman_schedules") == [(None,)]
