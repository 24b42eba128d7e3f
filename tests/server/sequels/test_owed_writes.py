"""What follows from a job's end is written with it or not at all, also while the store fails and others are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client.extensions import CLOSE_BATCH, OPEN_BATCH, SUBMIT_JOB_WITH
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType
from gearman_server.stores import loading, sql_store
from gearman_server.stores.settings import StoreSettings
from gearman_server.stores.sql_store import SqlStore

from ..broker_harness import BrokerHarness
from ..stores.by_hand import HandLoop, HandThreads, HandWriter, writer_of


class FailingServer:
    """A server over a SQLite file; the test says which transactions succeed, and kills it."""

    def __init__(self, make_broker: Callable[..., BrokerHarness], url: str, threads: HandThreads) -> None:
        self._make_broker, self._url, self._threads = make_broker, url, threads
        self._start()

    def _start(self) -> None:
        self.store = SqlStore(StoreSettings(self._url, 3.0), HandLoop())
        self.harness = self._make_broker(store=self.store)
        self.store.restore_to(self.harness.broker)
        self._threads.run_all()

    def write(self, how: str) -> None:
        self.harness.broker.end_pass()
        if writer_of(self.store).is_busy:
            writer_of(self.store).end(how)
        self.harness.broker.end_pass()

    def kill(self) -> None:
        self.store._database.close()
        self._start()

    @property
    def functions(self) -> list[bytes]:
        """The functions of all jobs."""
        return sorted(job.function.name for job in self.harness.broker.table.jobs.values())


@pytest.fixture
def server(
    make_broker: Callable[..., BrokerHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FailingServer]:
    threads = HandThreads()
    monkeypatch.setattr(sql_store, "Writer", HandWriter)
    monkeypatch.setattr(loading, "NativeThread", threads.make)
    made = FailingServer(make_broker, f"sqlite:///{tmp_path}/jobs.db", threads)
    yield made
    made.store.close()


@pytest.mark.parametrize("how", ["fails", "is lost"])
def test_a_chain_survives_a_kill_after_a_failed_write(server: FailingServer, how: str) -> None:
    client, worker = server.harness.peer(), server.harness.worker(b"f")
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"then=" + encode_link(b"g"), b"", b"w")
    server.write("succeeds")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"r")
    server.write(how)
    client.send(PacketType.SUBMIT_JOB_BG, b"other", b"", b"")
    server.write("succeeds")  # without what is put aside
    server.kill()
    # The first job runs again, or the second was written after all.
    assert server.functions == ([b"f", b"other"] if how == "fails" else [b"g", b"other"])


@pytest.mark.parametrize("how", ["fails", "is lost"])
def test_a_batch_that_was_not_written_as_done_is_done_after_a_kill(server: FailingServer, how: str) -> None:
    client, worker = server.harness.peer(), server.harness.worker(b"f")
    client.send(OPEN_BATCH, b"b", b"on_failure=" + encode_link(b"g"))
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"batch=b", b"", b"w")
    client.send(CLOSE_BATCH, b"b")
    server.write("succeeds")
    worker.send(PacketType.WORK_FAIL, worker.grab_handle())
    server.write(how)
    client.send(PacketType.SUBMIT_JOB_BG, b"other", b"", b"")
    server.write("succeeds")
    server.kill()
    assert server.functions == [b"g", b"other"]
    assert server.harness.broker.job_batches.by_name[b"b"].total == 1
    server.write("succeeds")
    server.kill()
    assert server.functions == [b"g", b"other"]
