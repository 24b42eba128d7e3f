"""A server that has its store alone is killed or restarted while workers of the client library run its jobs: they go
on, and no job runs twice. `GEARMAN_RUNNING_KILLS` asks for more kills."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import text

from gearman_client import Worker, WorkerJob, WorkerSettings
from gearman_client.extensions import ORPHANED_JOBS_OPTION, STORE_ID
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import StoreDatabase

Until = Callable[[Callable[[], bool]], None]
#: The server is killed so often under load.
KILLS = int(os.environ.get("GEARMAN_RUNNING_KILLS", "4"))

SPEAKERS = "gearman_store WHERE name = 'speakers'"


class Place:
    """A port on which one server after the other serves the same store."""

    def __init__(self, database: StoreDatabase, port: int, start: Callable[..., ServerProcess]) -> None:
        self.database, self.port, self._start = database, port, start
        self.server = self.start()

    def start(self) -> ServerProcess:
        self.server = self._start(self.database, "--port", str(self.port))
        return self.server

    def end(self, number: signal.Signals) -> None:
        """End the server by this signal."""
        self.server.signal(number)
        self.server.wait()


@pytest.fixture
def place_of(
    database_of: Callable[[str], StoreDatabase], start_durable: Callable[..., ServerProcess], free_port: int
) -> Callable[[str], Place]:
    return lambda kind: Place(database_of(kind), free_port, start_durable)


class Runner:
    """A worker in a thread of its own, which notes the jobs that it begins, and waits in those of `long`."""

    def __init__(self, place: Place, prefetch: int = 1) -> None:
        self.worker = Worker([f"127.0.0.1:{place.port}"], WorkerSettings(prefetch=prefetch))
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self.reports = False
        self.worker.register("f", self._short)
        self.worker.register("long", self._long)
        self._thread = threading.Thread(target=self.worker.work)

    def _short(self, job: WorkerJob) -> None:
        self.begun.append(job.handle)
        time.sleep(0.002)

    def _long(self, job: WorkerJob) -> bytes:
        self.begun.append(job.handle)
        while not self.go_on.wait(0.1):
            if self.reports:
                job.status(3, 7)
        return b"done"

    def __enter__(self) -> Runner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.worker.stop()
        self._thread.join()
        self.worker.close()


def submit(peer: StreamPeer, count: int, function: bytes = b"f") -> list[str]:
    """Submit background jobs; their handles."""
    for number in range(count):
        peer.send(PacketType.SUBMIT_JOB_BG, function, b"", b"%d" % number)
    packets = [peer.receive() for _ in range(count)]
    assert {packet_type for packet_type, _ in packets} == {PacketType.JOB_CREATED}
    return [handle.decode() for _, handle in packets]


@pytest.mark.timeout(60 + 20 * KILLS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_job_runs_twice_though_its_server_is_killed_again_and_again(
    place_of: Callable[[str], Place], until: Until, kind: str
) -> None:
    place = place_of(kind)
    accepted: list[str] = []
    runners = [Runner(place, prefetch) for prefetch in (1, 1, 8)]

    def begun() -> Counter[str]:
        return Counter(handle for runner in runners for handle in list(runner.begun))

    with runners[0], runners[1], runners[2]:
        until(lambda: place.server.text(b"status").startswith(b"f\t0\t0\t3"))
        for _ in range(KILLS):
            accepted += submit(place.server.peer(), 400)
            until(lambda: begun().total() > len(accepted) - 200)  # noqa: B023
            place.end(signal.SIGKILL)
            place.start()
        until(lambda: place.database.rows("handle") == [])
    assert begun() == Counter(accepted)


@pytest.mark.parametrize(("kind", "how"), [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGKILL)])
def test_a_long_job_goes_on_over_a_restart_if_it_reports(
    place_of: Callable[[str], Place], until: Until, kind: str, how: signal.Signals
) -> None:
    place = place_of(kind)
    with Runner(place) as runner:
        runner.reports = True
        (handle,) = submit(place.server.peer(), 1, b"long")
        until(lambda: runner.begun == [handle] and (1,) in place.database.rows("state"))
        place.end(how)
        time.sleep(0.5)  # reports fail, and their connection
        waits = submit(place.start().peer(), 1)
        until(lambda: place.server.text(b"jobs list").count(b"\trunning\t") == 1)
        time.sleep(2)  # whatever is in doubt is decided
        _, status = place.server.peer().ask(PacketType.GET_STATUS, handle.encode())
        assert status.split(b"\0")[1:] == [b"1", b"1", b"3", b"7"]
        assert place.database.rows("state, requeues") == [(1, 0), (0, 0)]
        runner.go_on.set()
        until(lambda: place.database.rows("handle") == [])
    assert runner.begun == [handle, *waits]


def test_the_answer_of_a_job_that_ended_while_its_server_was_away_is_taken(
    place_of: Callable[[str], Place], until: Until
) -> None:
    place = place_of("sqlite")
    with Runner(place) as runner:
        (handle,) = submit(place.server.peer(), 1, b"long")
        # A start waits for words from the first such worker on: once that is written, soon after it has come.
        until(lambda: runner.begun == [handle] and place.database.rows("content", SPEAKERS) == [("1",)])
        place.end(signal.SIGKILL)
        runner.go_on.set()
        time.sleep(3)  # longer than the server will wait: the worker tries again often enough
        place.start()
        until(lambda: place.database.rows("handle") == [])
    assert runner.begun == [handle]


# --- workers that say nothing


def grab(peer: StreamPeer) -> bytes:
    """The handle of the next job; empty: there is none now."""
    packet_type, body = peer.ask(PacketType.GRAB_JOB)
    return b"" if packet_type == PacketType.NO_JOB else body.partition(b"\0")[0]


def worker(place: Place) -> StreamPeer:
    peer = place.server.peer()
    peer.send(PacketType.CAN_DO, b"f")
    return peer


def speaks(peer: StreamPeer) -> None:
    """Switch the extension on."""
    peer.send(PacketType.OPTION_REQ, ORPHANED_JOBS_OPTION)
    assert peer.receive() == (PacketType.OPTION_RES, ORPHANED_JOBS_OPTION)
    assert peer.receive()[0] == STORE_ID


def test_without_workers_that_go_on_a_start_waits_for_nobody(place_of: Callable[[str], Place], until: Until) -> None:
    place = place_of("sqlite")
    (handle,) = submit(place.server.peer(), 1)
    assert grab(worker(place)) == handle.encode()
    until(lambda: place.database.rows("state") == [(1,)])
    place.end(signal.SIGKILL)
    place.start()
    place.server.wait_for_log("are back from the store")
    assert grab(worker(place)) == handle.encode()


def test_after_an_end_in_order_only_the_jobs_that_ran_are_in_doubt(place_of: Callable[[str], Place]) -> None:
    place = place_of("sqlite")
    speaks(place.server.peer())
    runs, waits = (handle.encode() for handle in submit(place.server.peer(), 2))
    assert grab(worker(place)) == runs
    place.end(signal.SIGTERM)
    assert place.database.rows("state, requeues") == [(1, 0), (0, 0)]
    place.start()
    place.server.wait_for_log("are back from the store")
    late = worker(place)
    assert [grab(late), grab(late)] == [waits, b""]
    assert late.ask(PacketType.PRE_SLEEP)[0] == PacketType.NOOP
    assert grab(late) == runs


def test_after_a_kill_waiting_jobs_are_in_doubt_too(place_of: Callable[[str], Place]) -> None:
    place = place_of("sqlite")
    speaks(place.server.peer())
    (handle,) = submit(place.server.peer(), 1)
    place.end(signal.SIGKILL)
    place.start()
    place.server.wait_for_log("are back from the store")
    late = worker(place)
    assert grab(late) == b""
    assert late.ask(PacketType.PRE_SLEEP)[0] == PacketType.NOOP
    assert grab(late) == handle.encode()


def test_that_workers_go_on_with_jobs_is_noted_though_the_connection_breaks(
    place_of: Callable[[str], Place], until: Until
) -> None:
    place = place_of("postgresql")
    waiting = (
        "pg_terminate_backend(pid)",
        "pg_stat_activity WHERE application_name = current_schema() AND wait_event_type = 'Lock'",
    )
    with place.database.connect() as holder:
        holder.execute(text("INSERT INTO gearman_store (name, content) VALUES ('speakers', '0')"))
        speaks(place.server.peer())
        until(lambda: place.database.rows(*waiting) == [(True,)])
        holder.rollback()
    until(lambda: place.database.rows("content", SPEAKERS) == [("1",)])
